"""From requests to answers: windows, batches, bounded memory, and the journal that survives a kill."""
