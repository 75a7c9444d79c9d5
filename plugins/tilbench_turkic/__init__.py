"""Turkic languages beside Kazakh and Turkish: letters, cue words and sample text."""
