"""Which of some languages a text is written in: by its script first, then by its letters and their order.

A language is a model of the characters of its text: the probability of a character after the three before it,
interpolated with that after two, one and none (Witten and Bell, "The Zero-Frequency Problem", 1991, method C), and
last with an even choice among the letters of its alphabet. A text is given to the language under which it is
likeliest (Dunning, "Statistical Identification of Language", 1994). Beside rank-order profiles (Cavnar and Trenkle,
"N-Gram-Based Text Categorization", 1994) and naive Bayes on n-grams of 1 to 4 characters it was the most often right
on sentences; docs/behavior.md has the figures.

Counts are learned from a language's profile on first use. A language without one is told from languages of other
scripts only: it is no candidate where one of its script has a profile, and else its alphabet decides.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import regex

from tilbench.data.files import read_rows
from tilbench.data.scripts import letters_of
from tilbench.errors import DataError
from tilbench.paths import file_digest, package_file

__all__ = ["LEAST_LETTERS", "Candidate", "Segment", "identify", "profile_text", "segments"]

LEAST_LETTERS = 12
"""With fewer letters a text is too short to tell."""

_ORDER = 4  # characters in an n-gram
_CERTAIN = math.log(0.95 / 0.05)  # how much likelier the first must be than the second
_FOREIGN = 1e-4  # probability of a character that is not in the alphabet
_LONG = 160  # characters of the longest segment

_APOSTROPHES = regex.compile(r"[ʻʼ‘’`´]")
_SENTENCE = regex.compile(r"(?<=[.!?…。؟۔][\"'»”’)]*)\s+|\n+")
_PIECES = regex.compile(rf"(?s).{{1,{_LONG}}}(?:\s+|$)|.{{{_LONG}}}")


class Candidate(Protocol):
    """What is asked of a language; `tilbench.kinds.language.Language` says what the fields are."""

    @property
    def tag(self) -> str:
        """BCP-47 tag with script."""

    @property
    def script(self) -> str:
        """ISO 15924 code."""

    @property
    def alphabet(self) -> str:
        """Lower-case letters."""

    @property
    def profile(self) -> str:
        """`package/file` of running text, or nothing."""

    @property
    def domain(self) -> bool:
        """Whether it is a domain of text, and no language."""


class Segment(NamedTuple):
    """A sentence or a piece of a long one; its language's tag, or None where that is undecided."""

    text: str
    language: str | None


def identify(text: str, candidates: Sequence[Candidate]) -> str | None:
    """Return the tag of the candidate that `text` is likeliest written in, all being as likely before.

    Letters of other scripts than that of most letters are not looked at; domains (code) are no candidates. None where
    the text is too short (`LEAST_LETTERS`), no candidate has its script, or the likeliest is not 95% certain. A text in
    none of the candidates is given to one that is near. Raises DataError for a profile that cannot be read.
    """
    return _identify(text, [(each, _models(each)) for each in candidates if not each.domain])


def segments(text: str, candidates: Sequence[Candidate]) -> list[Segment]:
    """Return the sentences of `text` in order, each with its language (`identify`).

    A sentence ends at a full stop, question mark or the like before white space, and at a line's end. One of more than
    160 characters is cut at white space, so that a switch inside it is seen.
    """
    known = [(each, _models(each)) for each in candidates if not each.domain]
    sentences = [part for part in _SENTENCE.split(text) if part.strip()]
    pieces = [piece for sentence in sentences for piece in _PIECES.findall(sentence.strip())]
    return [Segment(piece, _identify(piece, known)) for piece in map(str.strip, pieces) if piece]


def profile_text(profile: str) -> str:
    """Return the running text of a profile, `package/file`: a text file, or the texts of a jsonl file's rows.

    Raises DataError where it is missing or not UTF-8, or a row has no text.
    """
    package, _, relative = profile.partition("/")
    path = package_file(package, relative)
    if path.suffix != ".jsonl":
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); convert the file"
            ) from None
    rows = list(read_rows(path))
    if place := next((place for place, row in rows if not isinstance(row.get("text"), str)), None):
        raise DataError(f"{place}: no 'text'; a profile is a text file or rows with texts")
    return "\n".join(row["text"] for _, row in rows)


@dataclass(frozen=True, slots=True)
class _Model:
    """n-grams of up to `_ORDER` characters, and how often and before how many different characters each stands."""

    counts: Mapping[str, int]
    followed: Mapping[str, int]
    kinds: Mapping[str, int]
    alphabet: frozenset[str]

    def logprob(self, text: str) -> float:
        """Return the natural log-probability of normal text after its first character."""
        total = 0.0
        for place in range(1, len(text)):
            probability = 1 / len(self.alphabet) if text[place] in self.alphabet else _FOREIGN
            for before in range(min(_ORDER, place + 1)):
                history = text[place - before : place]
                if not (seen := self.followed.get(history)):
                    break
                new = self.kinds[history]
                probability = (self.counts.get(history + text[place], 0) + new * probability) / (seen + new)
            total += math.log(probability)
        return total


def _identify(text: str, known: Sequence[tuple[Candidate, _Model]]) -> str | None:
    letters = regex.findall(r"\p{L}", text)
    fitting = [(each, model, own) for each, model in known if (own := letters_of(each.script)) and _most(letters, own)]
    learned = [each for each in fitting if each[1].counts] or fitting
    scores: list[tuple[float, str]] = []
    for candidate, model, own in learned:
        normal = _normal(text, own)
        if sum(letter.isalpha() for letter in normal) >= LEAST_LETTERS:
            scores.append((model.logprob(normal), candidate.tag))
    scores.sort(reverse=True)
    if not scores or (len(scores) > 1 and scores[0][0] - scores[1][0] < _CERTAIN):
        return None
    return scores[0][1]


def _most(letters: Sequence[str], own: regex.Pattern[str]) -> bool:
    return 2 * sum(own.match(letter) is not None for letter in letters) > len(letters)


def _normal(text: str, own: regex.Pattern[str]) -> str:
    """Return the words of one script in lower case, each between single spaces.

    İ and I both become i: which of the two is meant depends on the language, which is not known yet.
    """
    text = unicodedata.normalize("NFC", text).replace("İ", "i").lower()
    text = _APOSTROPHES.sub("'", text)
    kept = [char if own.match(char) or char == "'" or unicodedata.combining(char) else " " for char in text]
    return f" {' '.join(''.join(kept).split())} "


def _models(candidate: Candidate) -> _Model:
    digest = ""
    if candidate.profile:
        package, _, relative = candidate.profile.partition("/")
        digest = file_digest(package_file(package, relative))
    return _learn(candidate.profile, digest, candidate.script, candidate.alphabet)


@cache
def _learn(profile: str, digest: str, script: str, alphabet: str) -> _Model:
    """Count a profile; `digest` is of its content, so that a file that changed is learned anew."""
    own = letters_of(script)
    text = _normal(profile_text(profile), own) if profile and own else ""
    counts: Counter[str] = Counter()
    for size in range(1, _ORDER + 1):
        counts.update(text[start : start + size] for start in range(len(text) - size + 1))
    followed: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for gram, count in counts.items():
        followed[gram[:-1]] += count
        kinds[gram[:-1]] += 1
    letters = frozenset(_APOSTROPHES.sub("'", alphabet)) | {" ", "'"}
    return _Model(counts, followed, kinds, letters)
