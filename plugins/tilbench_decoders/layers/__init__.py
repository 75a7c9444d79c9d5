"""What a decoder is made of: attention, feed-forward, norms, positions, and the cache of keys and values."""
