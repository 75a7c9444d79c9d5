"""Reading comprehension: exact match and token F1."""
