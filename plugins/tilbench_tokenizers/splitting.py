"""How a text is split into the stretches that tokens do not cross: patterns to train with, and words for a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import Regex, pre_tokenizers

__all__ = ["PATTERNS", "byte_level", "checked_pattern", "described"]

_GPT2 = "GPT-2's pattern"
PATTERNS: Mapping[str, str] = {
    "gpt2": "",  # the library's own, which is faster than the same pattern as an expression
    "words": (
        r" ?\p{L}[\p{L}\p{M}]*(?:['’ʼʻ‘][\p{L}\p{M}]+)*"  # an apostrophe inside a word stays in it
        r"| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    ),
}
"""Patterns with a name.

gpt2 cuts English contractions off (`'s`, `'d`, `'ll`), in every language: `Ankara'da` becomes `Ankara`, `'d`, `a`.
words has no contractions and keeps apostrophes between letters: `Ankara'da` is one stretch.
"""


def checked_pattern(pattern: str) -> str:
    """Return a pattern's name or a regular expression, as it is given. Raises ValueError where it is neither."""
    if pattern not in PATTERNS:
        try:
            Regex(pattern)
        except Exception as error:  # the Rust side raises bare Exception
            known = ", ".join(PATTERNS)
            raise ValueError(f"{pattern!r} is no regular expression ({error}), nor one of {known}") from None
    return pattern


def byte_level(pattern: str) -> pre_tokenizers.PreTokenizer:
    """Return what splits by a pattern, a space in front of a word kept with it, and writes bytes as characters."""
    expression = PATTERNS.get(pattern, pattern)
    if not expression:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    steps = [
        pre_tokenizers.Split(Regex(expression), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    return pre_tokenizers.Sequence(steps)


def described(part: Mapping[str, Any] | None) -> str:
    """Return the steps of the pre-tokenizer of a tokenizer.json, such as "Digits, GPT-2's pattern"."""
    if part is None:
        return "none"
    match part["type"]:
        case "Sequence":
            steps = [described(each) for each in part["pretokenizers"]]
            return ", ".join(step for step in steps if step != "bytes")
        case "ByteLevel":
            return _GPT2 if part.get("use_regex", True) else "bytes"
        case "Split":
            pattern = part["pattern"]
            text = pattern.get("Regex", pattern.get("String", ""))
            named = [name for name, expression in PATTERNS.items() if expression == text]
            return f"pattern {named[0] if named else repr(text)}"
        case kind:
            return str(kind)
