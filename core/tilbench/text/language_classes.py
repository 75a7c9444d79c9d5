"""The classes that a text's language is chosen from: those of py3langid, and what it lacks, learned from profiles.

py3langid (Barbaresi; BSD-3-Clause) is naive Bayes over byte n-grams, trained on 139 languages (Lui and Baldwin,
"langid.py: An Off-the-shelf Language Identification Tool", 2012). A language that it does not know becomes one class
more of the same model: its n-gram counts come from the language's profile, smoothed with a Dirichlet prior (Zhai and
Lafferty, "A Study of Smoothing Methods for Language Models", 2001) whose mean is that of the nearest classes, because a
profile is short. docs/behavior.md has the accuracy of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import regex

from tilbench.data.files import read_rows
from tilbench.errors import DataError
from tilbench.paths import file_digest, package_file

__all__ = ["LEAST_PROFILE", "Profile", "letters_in", "profile_of", "profile_text", "shares", "tool"]

LEAST_PROFILE = 2000
"""Least letters of a profile, about 300 words. A language with less cannot be told from others."""

_NEAREST = 5  # classes whose mean is the prior of a learned one
_PRIOR = 1000  # n-grams that the prior counts as
_PIECE = 100  # characters of the pieces of a profile that py3langid is tried on
_RECOGNISED = 0.9  # of the pieces that it must give to the language


class Profile(NamedTuple):
    """A language's profile. tag: BCP-47. file: `package/file`. digest: of the file, which may change while we run."""

    tag: str
    file: str
    digest: str


def tool() -> str:
    """Return name and version of the library, on which every answer depends."""
    return f"py3langid {version('py3langid')}"


def profile_of(tag: str, file: str) -> Profile:
    """Return a profile as it is now. Raises DataError where the file is missing."""
    package, _, relative = file.partition("/")
    return Profile(tag, file, file_digest(package_file(package, relative)))


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


def shares(text: str, profiles: Sequence[Profile]) -> Mapping[str, float]:
    """Return the probability of every class, which sum to 1.

    A class is named by the tag of its profile; by an ISO 639 code where it is of a language that has no profile here.
    """
    labels = {profile: _label(profile) for profile in profiles}
    learned = tuple(sorted(profile for profile, label in labels.items() if label == profile.tag))
    names = {label: profile.tag for profile, label in labels.items()}
    return {names.get(label, label): float(share) for label, share in _identifier(learned).rank(text)}


@cache
def letters_in(profile: Profile) -> int:
    """Return how many letters a profile has. Raises DataError where it cannot be read."""
    return len(regex.findall(r"\p{L}", profile_text(profile.file)))


@cache
def _label(profile: Profile) -> str:
    """Return the library's class where it recognises the profile, else the tag, of a class to be learned.

    The code alone would not do: the library may know the language in another script only.
    """
    text = " ".join(profile_text(profile.file).split())
    code = profile.tag.partition("-")[0]
    pieces = [text[start : start + _PIECE] for start in range(0, len(text) - _PIECE + 1, _PIECE)]
    found = [_identifier(()).classify(piece)[0] for piece in pieces]
    return code if found.count(code) >= _RECOGNISED * len(pieces) else profile.tag


@cache
def _identifier(learned: tuple[Profile, ...]) -> Any:
    """Return the library's identifier with a class more for each of the profiles."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    if not learned:
        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    plain = _identifier(())
    table = plain.nb_ptc
    columns = [_column(plain, profile_text(profile.file)).astype(table.dtype) for profile in learned]
    return LanguageIdentifier(
        np.column_stack([table, *columns]),
        np.append(plain.nb_pc, [plain.nb_pc.mean()] * len(learned)).astype(plain.nb_pc.dtype),
        [*plain.nb_classes, *(profile.tag for profile in learned)],
        plain.tk_nextmove,
        plain.tk_output,
        norm_probs=True,
        tk_row=plain.tk_row,
    )


def _column(plain: Any, text: str) -> np.ndarray[Any, Any]:
    """Return the log-probability of each n-gram, [n-grams], learned from a text."""
    from py3langid.langid import visit_counts

    table = plain.nb_ptc.astype(np.float32)
    counts = np.zeros(len(table))
    rows = [row << 8 for row in plain.tk_row]
    for gram, count in (visit_counts(plain.tk_nextmove, rows, plain.tk_output, text.encode()) or {}).items():
        counts[gram] = count
    nearest = np.argsort(counts @ table)[-_NEAREST:]
    prior = np.exp(table[:, nearest]).mean(axis=1)
    prior /= prior.sum()
    return np.asarray(np.log((counts + _PRIOR * prior) / (counts.sum() + _PRIOR)))
