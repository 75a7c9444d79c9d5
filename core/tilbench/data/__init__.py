"""Rows, datasets and text files: where they come from, and what exactly was used."""
