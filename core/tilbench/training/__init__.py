"""A training run: its text, its start, its log, and the choice of a checkpoint."""
