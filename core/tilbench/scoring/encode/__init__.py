"""From request texts to token ids: the prefix, what does not fit, and what the ids lose."""
