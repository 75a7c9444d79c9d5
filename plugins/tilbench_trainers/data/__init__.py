"""From documents to batches: rows of a source, token files, and the order over them."""
