"""Measures of one text, as pure functions.

Words are those of Unicode Standard Annex 29 that hold a letter or a number, in lower case: punctuation does
not count, nor do capitals.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

import regex

from tilbench.text.words import unicode_words

__all__ = [
    "LOOP_SIGNS",
    "LOOP_TIMES",
    "LOOP_UNIT",
    "SWITCH_RUN",
    "disordered",
    "distinct",
    "letter_shares",
    "loops",
    "lower",
    "repeats",
    "switches",
    "words_of",
]

LOOP_TIMES = 3  # as often a phrase stands at the end of a text that loops
LOOP_UNIT = 2  # words of the shortest such phrase
LOOP_SIGNS = 20  # characters of a run of one unit of at most `_SIGN_UNIT` characters
_SIGN_UNIT = 4
SWITCH_RUN = 3  # words in other scripts on end

# letters of a script: the modifier letter ʼ, for one, is at home in all of them
_LETTER = regex.compile(r"[\p{L}--\p{Script=Common}--\p{Script=Inherited}]", regex.V1)


# the first letter after a sentence end that stands behind two letters or more
_AFTER_END = regex.compile(r"(?<=\p{L}\p{L})[.!?…]['\"»”)]*\s+[\"«“„(—–\s-]*(\p{L})")


def lower(text: str, alphabet: str = "") -> str:
    """Return `text` in lower case, composed (NFC); where the alphabet has a dotless ı, I becomes ı and İ i.

    >>> lower("IŞIK", "abcçdefgğhıijklmnoöprsştuüvyz"), lower("IL")
    ('ışık', 'il')
    """
    text = unicodedata.normalize("NFC", text)
    if "ı" in alphabet:
        text = text.replace("İ", "i").replace("I", "ı")
    return text.lower()


def words_of(text: str, alphabet: str = "") -> list[str]:
    """Return the words of `text` in lower case."""
    return unicode_words(lower(text, alphabet))


def loops(text: str, words: Sequence[str], complete: bool) -> bool:
    """Say whether `text`, of these `words`, ends in a loop.

    It does where its last words are one phrase of 2 words or more, 3 or more times in a row. A phrase may be one
    word twice, so that a word alone loops from the sixth time on, and "no, no, no" does not. The end of a text
    and not its middle is looked at after Holtzman et al., "The Curious Case of Neural Text Degeneration" (2020):
    what left the loop again was not caught in it. Their code counts tokens, and a phrase of 3 twice; words are
    the same for every tokenizer, and people do say a thing twice. Where a text was cut (not `complete`), its last
    word may be half a word, and a loop may also end before it.

    It does besides where its last 20 characters, white space left out, are one unit of at most 4 characters over
    and over: what repeats a letter or a sign writes one long word, or none.
    """
    if _ends_in_phrases(words) or (not complete and _ends_in_phrases(words[:-1])):
        return True
    tail = "".join(text.split())[-LOOP_SIGNS:].lower()
    return len(tail) == LOOP_SIGNS and any(tail[unit:] == tail[:-unit] for unit in range(1, _SIGN_UNIT + 1))


def _ends_in_phrases(words: Sequence[str]) -> bool:
    """Say whether the last words have a period of `LOOP_UNIT` or more that they run through `LOOP_TIMES` times.

    A phrase that is cut inside its last repetition has the same period: its loop begins some words later.
    """
    for unit in range(LOOP_UNIT, len(words) // LOOP_TIMES + 1):
        tail = words[len(words) - unit * LOOP_TIMES :]
        if tail[unit:] == tail[:-unit]:
            return True
    return False


def distinct(words: Sequence[str], size: int) -> float | None:
    """Return distinct n-grams / n-grams of `size` words; None where the text has no such n-gram.

    >>> distinct("a b a b".split(), 2)
    0.6666666666666666
    """
    grams = _grams(words, size)
    return len(set(grams)) / len(grams) if grams else None


def repeats(words: Sequence[str], size: int) -> bool:
    """Say whether some n-gram of `size` words stands at two places or more, which may overlap."""
    return any(count > 1 for count in Counter(_grams(words, size)).values())


def _grams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]


def disordered(text: str) -> bool:
    """Say whether the sentences of `text` do not begin where the ones before them end.

    So it is where two sentence ends or more are inside it and at least half are followed by a word in lower case, as
    in words that were shuffled. A full stop after one letter or a digit may be of an abbreviation or a list, and is no
    end. Scripts without capitals are never disordered.

    >>> disordered("It rained. We left. The road was wet."), disordered("rained. It We the left. was Road wet.")
    (False, True)
    """
    begins = _AFTER_END.findall(text)
    return len(begins) >= 2 and 2 * sum(map(str.islower, begins)) >= len(begins)


def letter_shares(text: str, own: regex.Pattern[str], alphabet: str) -> tuple[float, float] | None:
    """Return the shares of letters of `text` in a script (`letters_of`) and in an alphabet; None without letters.

    Letters that belong to no one script are left out. The alphabet is in lower case.
    """
    letters = _LETTER.findall(lower(text, alphabet))
    if not letters:
        return None
    known = set(alphabet)
    inside = sum(own.match(letter) is not None for letter in letters)
    return inside / len(letters), sum(letter in known for letter in letters) / len(letters)


def switches(words: Sequence[str], own: regex.Pattern[str]) -> bool:
    """Say whether 3 words or more in a row are in other scripts, with no letter of one's own (`letters_of`).

    Words without letters (numbers) neither belong to such a run nor end it.
    """
    run = 0
    for word in words:
        if own.search(word):
            run = 0
        elif _LETTER.search(word):
            run += 1
            if run == SWITCH_RUN:
                return True
    return False
