"""Schemas of suites, model specs and recipes, and YAML that says which line is wrong."""
