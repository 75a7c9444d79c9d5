"""Words in letters of two scripts: a look-alike typed on the wrong keyboard is another letter to every tokenizer.

The pairs are those of Unicode's confusables (UTS #39) between Latin and Cyrillic that people type for each other,
Kazakh's among them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from functools import cache

import regex

from tilbench.kinds.language import Language
from tilbench.text.fold import fold

__all__ = ["as_read", "disguised", "mixed", "script_of", "spelled", "words_of"]

_PAIRS = "AА BВ CС EЕ HН IІ JЈ KК MМ OО PР SЅ TТ XХ YУ ƏӘ ƟӨ aа cс eе hһ iі jј kк oо pр sѕ xх yу əә ɵө"
_TO_CYRILLIC = {pair[0]: pair[1] for pair in _PAIRS.split()}
_TO_LATIN = {cyrillic: latin for latin, cyrillic in _TO_CYRILLIC.items()}
_LOOK_ALIKES = {"Latn": _TO_CYRILLIC, "Cyrl": _TO_LATIN}
"""Letters of a script → the look-alike in the other one."""
_OTHER = {"Latn": "Cyrl", "Cyrl": "Latn"}
_NAMES = {"Latn": "Latin", "Cyrl": "Cyrillic"}
_WORD = regex.compile(r"\p{L}[\p{L}\p{M}]*")
_LONG_WORD = regex.compile(r"\p{L}{4,}")
_SCRIPTS = {code: regex.compile(rf"\p{{Script={code}}}") for code in ("Latn", "Cyrl", "Grek")}


def words_of(text: str) -> list[str]:
    """Return the runs of letters; hyphens, digits and signs part them, so CO2 and IT-маман are of one script each."""
    words: list[str] = _WORD.findall(text)
    return words


def as_read(text: str, language: Language | None) -> str:
    """Return a text as a reader takes it: spaces, invisible characters and kinds of apostrophes make no difference.

    Case makes none either (`tilbench.text.fold`), except where it may be all that differs: genes, symbols, formulas.
    """
    plain = " ".join(text.split())
    return fold(plain, language) if _LONG_WORD.search(plain) else unicodedata.normalize("NFC", plain)


@cache
def script_of(letter: str) -> str:
    """Return Latn, Cyrl or Grek; "" for a letter of another script."""
    return next((code for code, pattern in _SCRIPTS.items() if pattern.match(letter)), "")


def mixed(word: str, language: Language | None, shortest: int = 3) -> bool:
    """Say whether a word mixes Latin and Cyrillic letters so that those of one script look like the other's.

    `Cұрақ` with a Latin C does; `Googleдың`, a name with an ending, does not. Words of fewer than `shortest` letters
    are left alone: `мA` may be a unit, `xу` a product. language: in whose script the word should be, if in any.
    """
    letters: dict[str, set[str]] = {"Latn": set(), "Cyrl": set()}
    for letter in word:
        if (script := script_of(letter)) in letters:
            letters[script].add(letter)
    if len(word) < shortest or not all(letters.values()):
        return False
    own = language.script if language else ""
    foreign = [_OTHER[own]] if own in _OTHER else list(letters)
    return any(letters[script] <= _LOOK_ALIKES[script].keys() for script in foreign)


def spelled(word: str, language: Language | None) -> str:
    """Return a word with those of its letters that are not of the language's script: the eye does not see them."""
    scripts = [script_of(letter) for letter in word]
    own = language.script if language and language.script in _OTHER else max(_OTHER, key=scripts.count)
    odd = dict.fromkeys(letter for letter in word if script_of(letter) == _OTHER[own])
    return f"{word!r} ({_NAMES[_OTHER[own]]} {''.join(odd)})"


def disguised(words: Iterable[str], language: Language | None) -> Collection[str]:
    """Return the words that are wholly of look-alikes of the other script, and that also stand there rightly.

    So `Copa` in Latin letters is one where the same texts have `Сора` in Cyrillic. Words of capitals (ABC, CO) are left
    alone, and those of fewer than three letters.
    """
    if language is None or language.script not in _OTHER:
        return ()
    table = _LOOK_ALIKES[_OTHER[language.script]]
    every = set(words)
    right = {word.casefold() for word in every if all(script_of(letter) == language.script for letter in word)}
    return {
        word
        for word in every
        if len(word) > 2
        and not word.isupper()
        and all(letter in table for letter in word)
        and "".join(table[letter] for letter in word).casefold() in right
    }
