"""Which language a text is written in: one of some candidates, another one, or undecided.

The classes are in `language_classes`: all languages that py3langid knows, and the candidates that it does not know and
that have a profile. So an answer depends on the text, the candidates and the library, and not on what else is
installed. A language without a profile cannot be told from others: nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import regex

from tilbench.text.language_classes import LEAST_PROFILE, Profile, letters_in, profile_of, shares, tool
from tilbench.text.scripts import letters_of

__all__ = ["LEAST_LETTERS", "OTHER", "Candidate", "Segment", "deciding", "identify", "segments", "untold"]

LEAST_LETTERS = 12
"""With fewer letters a text is too short to tell."""

OTHER = 4
"""How many times likelier than every candidate another language must be. docs/behavior.md says why."""

_NO_LANGUAGE = "zxx"  # py3langid's class of numbers, code and the like
_LONG = 160  # characters of the longest segment

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
    def profile(self) -> str:
        """`package/file` of running text, or nothing."""

    @property
    def domain(self) -> bool:
        """Whether it is a domain of text, and no language."""


class Segment(NamedTuple):
    """A sentence or a piece of a long one; its language as `identify` says it."""

    text: str
    language: str | None


def untold(language: Candidate) -> str:
    """Return why texts in this language cannot be told from others, such as that it has no profile; else nothing.

    Raises DataError for a profile that cannot be read.
    """
    nothing = "no text is said to be in another language"
    if language.domain:
        return f"{language.tag} is a domain of text and no language: {nothing}"
    if not language.profile:
        return f"{language.tag} has no profile: {nothing}"
    letters = letters_in(profile_of(language.tag, language.profile))
    if letters < LEAST_PROFILE:
        return f"the profile of {language.tag} has {letters} letters and {LEAST_PROFILE} are the least: {nothing}"
    return ""


def deciding(candidates: Sequence[Candidate]) -> Mapping[str, object]:
    """Return what the answers depend on besides the texts, as plain data: the library and each profile's digest."""
    return {"tool": tool(), "profiles": {each.tag: each.digest for each in _profiles(candidates)}}


def identify(text: str, candidates: Sequence[Candidate]) -> str | None:
    """Return the language of `text`: a candidate's tag, another language's ISO 639 code, or None for undecided.

    It is another language where that is more than `OTHER` times as likely as the likeliest candidate, or where no
    candidate is written in the script of most letters. Which other language it is may be wrong where it is near to
    several. Otherwise it is the candidate with more than half of what the candidates in that script have. None where
    the text has fewer than `LEAST_LETTERS` letters or is no language (numbers, code), where two candidates are as
    likely, and where no candidate can be told from others. Raises DataError for a profile that cannot be read.
    """
    letters = regex.findall(r"\p{L}", text)
    profiles = _profiles(candidates)
    if not profiles or len(letters) < LEAST_LETTERS:
        return None
    found = shares(text, profiles)
    scripts = {each.tag: each.script for each in candidates}
    own = {tag: share for tag, share in found.items() if tag in scripts and _most(letters, scripts[tag])}
    other = max((label for label in found if label not in own), key=found.__getitem__)
    best = max(own, key=own.__getitem__, default=None)
    if best is None or found[other] > OTHER * own[best]:
        return None if other == _NO_LANGUAGE else other.partition("-")[0]
    return best if own[best] > sum(own.values()) / 2 else None


def segments(text: str, candidates: Sequence[Candidate]) -> list[Segment]:
    """Return the sentences of `text` in order, each with its language (`identify`).

    A sentence ends at a full stop, question mark or the like before white space, and at a line's end. One of more than
    160 characters is cut at white space, so that a switch inside it is seen.
    """
    sentences = [part for part in _SENTENCE.split(text) if part.strip()]
    pieces = [piece for sentence in sentences for piece in _PIECES.findall(sentence.strip())]
    return [Segment(piece, identify(piece, candidates)) for piece in map(str.strip, pieces) if piece]


def _profiles(candidates: Sequence[Candidate]) -> list[Profile]:
    there = [profile_of(each.tag, each.profile) for each in candidates if each.profile and not each.domain]
    return [profile for profile in there if letters_in(profile) >= LEAST_PROFILE]


def _most(letters: Sequence[str], script: str) -> bool:
    own = letters_of(script)
    return own is not None and 2 * sum(own.match(letter) is not None for letter in letters) > len(letters)
