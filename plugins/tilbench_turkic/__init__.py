"""Turkic languages beside Kazakh and Turkish: letters, cue words, and text that tells them from one another."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register

_LANGUAGES = {
    "az-Latn": "Azerbaijani",
    "ky-Cyrl": "Kyrgyz",
    "uz-Latn": "Uzbek",
    "tt-Cyrl": "Tatar",
    "ug-Arab": "Uyghur",
    "kaa-Latn": "Karakalpak",
    "crh-Latn": "Crimean Tatar",
}


@hookimpl
def register_languages(register: Register) -> None:
    """Register seven languages, without data of their own."""
    for tag, name in _LANGUAGES.items():
        register(tag, f"tilbench_turkic/languages/{tag}.yaml", summary=name)
