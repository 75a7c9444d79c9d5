"""Words of a text, under the two definitions in use for fertility and per-word perplexity.

*Whitespace words* are what stands between white space: the definition behind most published fertilities.
*Unicode words* are the word segments of UAX #29 that hold a letter or a number: punctuation and emoji do not
count, `Ankara'da`, `3,14` and `example.com` are one word each, a hyphen separates two.
"""

from __future__ import annotations

import regex

__all__ = ["unicode_words", "whitespace_words"]

# str.split also splits at these four separators, which have no White_Space property in Unicode; U+001F is
# used as a morpheme mark inside words, and must not make two of one.
_SEPARATORS = ("\x1c", "\x1d", "\x1e", "\x1f")
_NO_SPACE = regex.compile(r"\P{White_Space}++")


def whitespace_words(text: str) -> list[str]:
    """Return the maximal runs of characters without the Unicode property White_Space, in order."""
    if any(separator in text for separator in _SEPARATORS):
        words: list[str] = _NO_SPACE.findall(text)
        return words
    return text.split()


def _pattern() -> str:
    r"""Write the word rules of UAX #29 (WB3–WB13b) as one pattern of possessive parts, hence linear in time.

    `regex`'s own boundary, `(?w)\b`, is not used: it is quadratic in a run of regional indicators (flags)
    and joins a lone one to the letter after it.
    """
    ignored = r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*+"  # WB4: they belong to the character before them
    letter = rf"[\p{{WB=ALetter}}\p{{WB=Hebrew_Letter}}]{ignored}"
    hebrew = rf"\p{{WB=Hebrew_Letter}}{ignored}"
    number = rf"\p{{WB=Numeric}}{ignored}"
    katakana = rf"(?:\p{{WB=Katakana}}{ignored})++"
    connector = rf"(?:\p{{WB=ExtendNumLet}}{ignored})++"
    single_quote, double_quote = rf"\p{{WB=Single_Quote}}{ignored}", rf"\p{{WB=Double_Quote}}{ignored}"
    mid_letter = rf"[\p{{WB=MidLetter}}\p{{WB=MidNumLet}}\p{{WB=Single_Quote}}]{ignored}"
    mid_number = rf"[\p{{WB=MidNum}}\p{{WB=MidNumLet}}\p{{WB=Single_Quote}}]{ignored}"
    # WB6, 7 | WB7b, 7c | WB5, 9, 10 | WB11, 12 | WB8
    run = (
        rf"(?:{letter}(?={mid_letter}{letter}){mid_letter}|{hebrew}{double_quote}(?={hebrew})"
        rf"|{letter}|{number}(?={mid_number}{number}){mid_number}|{number})++"
    )
    part = rf"(?:{run}|{katakana})"  # WB13; a letter and a Katakana sign side by side are two words
    quoted = rf"(?:(?={single_quote})(?<={hebrew}){single_quote})?+"  # WB7a: a geresh may end a word
    joined = rf"{part}(?:{connector}{part})*+(?:{connector})?+{quoted}"  # WB13a, 13b
    alone = rf"[\p{{L}}\p{{N}}]{ignored}"  # ideographs, Hiragana, ½: each its own segment (WB999)
    return rf"{connector}(?:{joined})?+|{joined}|{alone}"


_SEGMENT = regex.compile(_pattern(), regex.V1)
_COUNTS = regex.compile(r"[\p{L}\p{N}]", regex.V1)


def unicode_words(text: str) -> list[str]:
    """Return the word segments of `text` that hold a letter (L*) or a number (N*), in order.

    The definition is Unicode Standard Annex #29, default word boundaries, untailored, with the character
    properties of the installed `regex`. Scripts that UAX #29 leaves to dictionaries (Thai, Chinese, Hiragana)
    come out one character at a time. Signs glued to a word by a zero-width joiner (WB3c) are left off it; the
    number of words is not changed by that. Time is linear in the text.
    """
    return [word for word in _SEGMENT.findall(text) if _COUNTS.search(word)]
