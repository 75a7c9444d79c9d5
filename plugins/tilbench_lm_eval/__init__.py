"""Tasks of lm-evaluation-harness in a suite, and tilbench models in lm-evaluation-harness."""
