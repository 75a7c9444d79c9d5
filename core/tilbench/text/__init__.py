"""Properties of text: scripts, words, languages, folding, chat templates and equality."""
