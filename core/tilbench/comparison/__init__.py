"""Two or more models under the same task: pairs, tests, conditions and the verdict."""
