"""Checkpoints of other implementations: which of their tensors is which part of ours, by name and by shape."""
