"""From names to things: datasets, suites, specs, models, tokenizers and checkpoints."""
