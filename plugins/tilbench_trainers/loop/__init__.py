"""The training loop: what is checked before it, one step of it, and what stops it."""
