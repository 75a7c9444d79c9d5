"""Code: script, letters, cue words of prompts, and sample data written for tilbench."""

from tilbench.plugins import language_plugin

register_languages, register_datasets = language_plugin(__name__, "code", "Code")
