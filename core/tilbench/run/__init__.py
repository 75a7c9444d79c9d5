"""Plan → execute → record, for one suite over many models; and resolve → build → fit, for training."""
