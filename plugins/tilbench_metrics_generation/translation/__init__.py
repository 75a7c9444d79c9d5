"""Translation: the metric, the same scores for a file of hypotheses, and what must not be scored."""
