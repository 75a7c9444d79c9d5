"""Unicode scripts behind the ISO 15924 code of a writing system."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import regex

from tilbench.errors import ConfigError

__all__ = ["NO_SCRIPT", "letters_of", "scripts_of"]

NO_SCRIPT = frozenset({"Zyyy", "Zzzz", "Zxxx", "Zinh"})
"""Codes of text that is of no one script, such as that of domains."""

_JOINT = {
    "Jpan": ("Han", "Hiragana", "Katakana"),
    "Hrkt": ("Hiragana", "Katakana"),
    "Kore": ("Hangul", "Han"),
    "Hans": ("Han",),
    "Hant": ("Han",),
    "Hanb": ("Han", "Bopomofo"),
}


@cache
def scripts_of(code: str) -> Sequence[str]:
    """Return the Unicode scripts that an ISO 15924 code stands for; nothing for an unknown one."""
    if code in _JOINT:
        return _JOINT[code]
    try:
        regex.compile(rf"\p{{Script={code}}}")
    except regex.error:
        return ()
    return (code,)


@cache
def letters_of(code: str) -> regex.Pattern[str] | None:
    """Return a pattern for a letter of the script `code`, an ISO 15924 code; None for a code of no one script.

    Raises ConfigError for a code that Unicode does not know.
    """
    if code in NO_SCRIPT:
        return None
    if not (scripts := scripts_of(code)):
        raise ConfigError(f"script {code!r} is no script of Unicode; write its ISO 15924 code, as `Cyrl`")
    inside = "".join(rf"\p{{Script={script}}}" for script in scripts)
    return regex.compile(rf"[\p{{L}}&&[{inside}]]", regex.V1)
