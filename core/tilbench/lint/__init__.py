"""What is wrong with a suite or a dataset before any model is scored on it: one small rule for each fault."""
