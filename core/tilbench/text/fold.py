"""One form for texts that a reader takes for the same: for comparing, never for showing or scoring.

The form is NFC, not NFKC: compatibility forms unite what a reader tells apart (10² and 102, H₂O and H2O). Whoever looks
for long stretches, in which that cannot matter, asks for NFKC.
"""

from __future__ import annotations

import unicodedata
from typing import Literal, Protocol

import regex

__all__ = ["APOSTROPHES", "INVISIBLE", "Alphabetic", "fold"]

APOSTROPHES = "’‘‛ʼʻʹ`´′＇ꞌ"
"""Characters that are typed for the apostrophe U+0027: in `Ankara'da`, in Uzbek `oʻ`, in a transliterated soft sign."""
INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}")
"""Soft hyphens, zero-width spaces and joiners, direction marks, byte order marks: what NFKC_Casefold removes (Unicode
Standard, section 3.13)."""
_DOT_ABOVE = "i\u0307"
"""What `"İ".lower()` gives outside Turkish: many corpora have it."""


class Alphabetic(Protocol):
    """Anything with an alphabet, such as a `Language`."""

    @property
    def alphabet(self) -> str:
        """Return the lower-case letters."""


def fold(text: str, language: Alphabetic | None = None, *, form: Literal["NFC", "NFKC"] = "NFC") -> str:
    """Return `text` without case, invisible characters and variants of the apostrophe, in a Unicode normal form.

    Case is folded as the language writes it: with ı in its alphabet (Turkish, Azerbaijani, Crimean Tatar), I is the
    capital of ı and İ that of i (SpecialCasing.txt of Unicode has these rules for tr and az). Without a language nobody
    can tell, so I, İ, ı and i are all `i`: copies are found however they were re-cased. White space is kept.
    """
    # apostrophes first: NFKC makes a space and a mark of the acute accent
    plain = INVISIBLE.sub("", text)
    for sign in APOSTROPHES:
        plain = plain.replace(sign, "'")
    plain = unicodedata.normalize(form, plain).replace("İ", "i")
    if language is None:
        plain = plain.replace("ı", "i")
    elif "ı" in language.alphabet:
        plain = plain.replace("I", "ı")
    return unicodedata.normalize(form, plain.casefold().replace(_DOT_ABOVE, "i"))
