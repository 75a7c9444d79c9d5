"""What people see of a run: the log, the terminal, TensorBoard."""
