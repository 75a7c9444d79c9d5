"""Which scored items stand in a training text, word for word."""
