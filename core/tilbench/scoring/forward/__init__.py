"""From token ids to log-probabilities: shared prefixes, batches and bounded memory."""
