"""Perplexity of answers to instructions, the prompt masked."""
