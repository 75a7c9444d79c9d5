"""Checkpoints: a folder of weights, tokenizer, `tilbench.json` and, where training may go on, its state."""
