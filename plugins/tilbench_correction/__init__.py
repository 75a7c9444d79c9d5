"""Spelling and grammar correction: edit-based F0.5 and character error rate."""
