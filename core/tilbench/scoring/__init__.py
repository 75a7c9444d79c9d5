"""From requests to answers: encode, forward, decode, and the journal that survives a kill."""
