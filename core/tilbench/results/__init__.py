"""Records: what one model scored on one task, where it came from, and whether to believe it."""
