"""Rules on how texts are written down: letters of a wrong code page, letters that were replaced, signs nobody sees.

docs/lint.md says how often each rule speaks on real text.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import regex

from tilbench.kinds.language import Language
from tilbench.lint.finding import Fault, listed, share
from tilbench.lint.subjects import DatasetSubject, texts_of
from tilbench.text.fold import APOSTROPHES, INVISIBLE
from tilbench.text.language_classes import profile_text

__all__ = ["apostrophes_vary", "foreign_letters", "invisible", "letters_missing", "not_composed"]

_COMMON = {"Latn": "abcdefghijklmnopqrstuvwxyz", "Cyrl": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"}
"""Letters that any text in the script may quote."""
_LETTER = regex.compile(r"[[\p{Lu}\p{Ll}]&&[\p{Script=Latn}\p{Script=Cyrl}]]", regex.V1)
_WORD = regex.compile(r"\S+")
_CODE_PAGES = (
    ("utf-8", "cp1251"),
    ("utf-8", "cp1252"),
    ("kz1048", "cp1251"),
    ("cp1254", "cp1252"),
    ("cp1251", "cp1252"),
)
"""(what a text was written in, what it was read as)."""
_FOREIGN_LETTERS, _FOREIGN_SHARE = 3, 0.02
_GARBLED_WORDS = 2
_LOOKED_AT = 50
"""Rows from which the code page is told."""
_LEAST = 200
"""Letters of a row, and of all rows, from which on the share of the language's own letters says something."""
_EXPECTED_LETTERS = 50
"""Times that a letter must be expected in all rows before its absence says something."""
_RUNNING = 0.01
"""Share of documents with invisible signs from which on it is reported; a few stand in any running text."""
_EMOJI = regex.compile(r"\p{Emoji}[\ufe0e\ufe0f\u200d\u20e3\U000e0020-\U000e007f]+")
_JOINED_SCRIPTS = frozenset(
    {"Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Deva", "Beng", "Taml", "Telu", "Mlym", "Sinh", "Khmr"}
)
"""Scripts whose spelling needs joiners, direction marks or zero-width spaces."""
_APOSTROPHE = regex.compile(rf"(?<=\p{{L}})['{APOSTROPHES}](?=\p{{L}})")


def _text(subject: DatasetSubject) -> Iterator[tuple[str, str]]:
    """Yield id and all text of each row that is in one language."""
    for row in subject.rows:
        if row.kind != "pairs":
            yield row.id, unicodedata.normalize("NFC", "\n".join(text for _, text in texts_of(row)))


def _of_letters(subject: DatasetSubject) -> Language | None:
    """Return the language if its letters are known and of a script that is told apart here."""
    language = subject.language
    return language if language and not language.domain and language.script in _COMMON else None


def _lowered(text: str) -> list[str]:
    letters: list[str] = _LETTER.findall(text.replace("İ", "i").lower())
    return letters


def _of_words(texts: Iterable[str]) -> Counter[str]:
    """Count the letters of the different words."""
    return Counter(letter for word in {word for text in texts for word in text.split()} for letter in _lowered(word))


def _decoded(word: str, right: str, wrong: str) -> str:
    try:
        return word.encode(wrong).decode(right)
    except UnicodeError:
        return word


def foreign_letters(subject: DatasetSubject) -> Iterator[Fault]:
    """So many letters that the language lacks that a wrong code page, an old font or another language explains them."""
    language = _of_letters(subject)
    if language is None:
        return
    own = {*language.alphabet, *_COMMON["Latn"], *_COMMON[language.script]}
    bad: dict[str, str] = {}
    seen = Counter[str]()
    for row, text in _text(subject):
        letters = _lowered(text)
        foreign = [letter for letter in letters if letter not in own and not _accented(letter)]
        garbled = [word for word in _WORD.findall(text) if len(word) > 1 and _was_utf8(word, own)]
        many = len(foreign) >= _FOREIGN_LETTERS and len(foreign) >= _FOREIGN_SHARE * len(letters)
        if many or len(garbled) >= _GARBLED_WORDS:
            bad[row] = text
            seen.update(foreign or "".join(garbled[:1]))
    if bad:
        named = " ".join(letter for letter, _ in seen.most_common(6))
        cause = _cause(list(bad.values())[:_LOOKED_AT], own)
        yield Fault(
            f"{share(len(bad), len(subject.rows))} rows have letters that {language.name} lacks: {named}"
            + (f"; this is {cause[0]} read as {cause[1]}" if cause else ""),
            f"read the source as {cause[0]}" if cause else "convert the source from its code page or font to Unicode",
            list(bad),
        )


def _accented(letter: str) -> bool:
    """Say whether a letter is one of a–z with a mark, as in names and loans: é, â."""
    return unicodedata.normalize("NFD", letter)[0] in _COMMON["Latn"]


def _was_utf8(word: str, own: set[str]) -> bool:
    """Say whether a word read as UTF-8 is of the language's letters and nothing else."""
    if word.isascii():
        return False
    others = {_decoded(word, *pages) for pages in _CODE_PAGES if pages[0] == "utf-8"} - {word}
    return any(
        not other.isascii() and all(letter in own for letter in other.lower() if letter.isalpha()) for other in others
    )


def _cause(texts: Sequence[str], own: set[str]) -> tuple[str, str] | None:
    """Return the code pages that explain most letters, if they explain most of what is foreign."""

    def foreign(decode: Callable[[str], str]) -> int:
        words = (decode(word) for text in texts for word in _WORD.findall(text))
        return sum(letter not in own for word in words for letter in _lowered(word))

    before = foreign(lambda word: word)
    after = {pages: foreign(lambda word, pages=pages: _decoded(word, *pages)) for pages in _CODE_PAGES}  # type: ignore[misc]
    best = min(after, key=lambda pages: after[pages])
    return best if after[best] <= before / 2 else None


def letters_missing(subject: DatasetSubject) -> Iterator[Fault]:
    """Texts without the letters that set the language apart: typed on another keyboard, or in another language.

    What is expected is what the language's profile has. A word counts once over all rows, which may share a wording.
    """
    language = _of_letters(subject)
    if language is None or not language.profile:
        return
    special = [
        letter for letter in language.alphabet if letter not in _COMMON[language.script] and _LETTER.match(letter)
    ]
    profile = _of_words([profile_text(language.profile)])
    usual = {letter: profile[letter] / max(1, profile.total()) for letter in special}
    if (expected := sum(usual.values())) < 0.05:
        return
    texts = list(_text(subject))
    rows = [(row, _lowered(text)) for row, text in texts]
    bad = [
        row
        for row, letters in rows
        if len(letters) >= _LEAST and sum(letter in usual for letter in letters) < expected / 8 * len(letters)
    ]
    counts = _of_words(text for _, text in texts)
    total = counts.total()
    found = sum(counts[letter] for letter in special) / max(1, total)
    absent = [
        letter
        for letter in special
        if usual[letter] * total >= _EXPECTED_LETTERS and counts[letter] < usual[letter] * total / 10
    ]
    if bad or absent or (total >= _LEAST and found < expected / 2):
        yield Fault(
            f"{' '.join(special)} are {found:.1%} of the letters, and {expected:.1%} in {language.name}"
            + (f"; {' '.join(absent)} all but missing" if absent else "")
            + (f"; {share(len(bad), len(rows))} rows have next to none" if bad else ""),
            "find out whether they were typed on another keyboard, or are in another language",
            bad,
        )


def invisible(subject: DatasetSubject) -> Iterator[Fault]:
    """Soft hyphens, zero-width spaces and the like, which split words for a tokenizer; emoji keep theirs."""
    if subject.language is not None and (subject.language.domain or subject.language.script in _JOINED_SCRIPTS):
        return
    counts = Counter[str]()
    bad: list[str] = []
    for row in subject.rows:
        text = " ".join(text for _, text in texts_of(row))
        found = INVISIBLE.findall(_EMOJI.sub("", text))
        counts.update(found)
        bad += [row.id] if found else []
    running = all(row.kind in ("documents", "pairs") for row in subject.rows)
    if bad and not (running and len(bad) <= _RUNNING * len(subject.rows)):
        named = [f"U+{ord(sign):04X} {unicodedata.name(sign, '').lower()}".strip() for sign, _ in counts.most_common()]
        yield Fault(
            f"{share(len(bad), len(subject.rows))} rows have invisible characters: {listed(named)}",
            "remove them: words with them are other tokens",
            bad,
        )


def not_composed(subject: DatasetSubject) -> Iterator[Fault]:
    """Letters and their marks apart (й as и and a breve), which are other tokens than the letter."""
    texts = ((row.id, "\n".join(text for _, text in texts_of(row))) for row in subject.rows)
    bad = [row for row, text in texts if not unicodedata.is_normalized("NFC", text)]
    if bad:
        yield Fault(
            f"{share(len(bad), len(subject.rows))} rows are not in Unicode's composed form (NFC)",
            "normalise them to NFC, as nearly all training text is",
            bad,
        )


def apostrophes_vary(subject: DatasetSubject) -> Iterator[Fault]:
    """Several characters for the apostrophe inside words, which are other tokens each. Running text is left alone."""
    if (subject.language is not None and subject.language.domain) or any(
        row.kind == "documents" for row in subject.rows
    ):
        return
    own = subject.language.alphabet if subject.language else ""
    counts = Counter[str]()
    rows: dict[str, list[str]] = {}
    for row, text in _text(subject):
        for sign in set(_APOSTROPHE.findall(text)) - set(own):
            counts[sign] += 1
            rows.setdefault(sign, []).append(row)
    if len(counts) > 1:
        (usual, _), *others = counts.most_common()
        named = ", ".join(f"{sign} (U+{ord(sign):04X}) in {count:,} rows" for sign, count in counts.most_common())
        yield Fault(
            f"apostrophes inside words vary: {named}",
            f"write one of them, such as {usual}: the others make other tokens",
            [row for sign, _ in others for row in rows[sign]],
        )
