"""What is measured while a model trains: held-out loss, probes, samples, a suite."""
