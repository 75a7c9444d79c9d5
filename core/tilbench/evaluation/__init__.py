"""A run of one suite over many models: plan, execute, score, record, verify."""
