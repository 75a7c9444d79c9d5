"""Foreign weights, matched to an architecture by name and shape, and checked on text."""
