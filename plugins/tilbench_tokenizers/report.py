"""How a tokenizer treats a language: fertility, compression, coverage and losses, over documents.

Only the tokens of the text count: special tokens, padding and truncation have no part in any figure, as no
tokenizer here applies them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tilbench.data.words import unicode_words, whitespace_words
from tilbench.errors import DataError
from tilbench.kinds.tokenizer import Tokenizer

__all__ = ["TokenizerReport", "parity", "report"]

_BATCH = 512  # documents encoded at once
_RESAMPLES = 1000
_SEED = 0
_ANCHOR = "."  # stands before a word that is looked at alone, so that the word is not the start of the text


@dataclass(frozen=True, slots=True)
class TokenizerReport:
    """One tokenizer on one set of documents. Rates and shares are between 0 and 1; nothing is rounded."""

    name: str
    language: str
    fingerprint: str
    """The tokenizer's."""
    size: int
    documents: int
    bytes: int
    """Of the documents in UTF-8."""
    characters: int
    """Code points."""
    words: int
    """Whitespace words (`tilbench.data.words.whitespace_words`)."""
    uax29_words: int
    """Words of UAX #29 with a letter or number (`tilbench.data.words.unicode_words`)."""
    tokens: int
    tokens_per_word: float
    """Fertility: all tokens / all whitespace words (Ács 2019; Rust et al. 2021)."""
    tokens_per_word_interval: tuple[float, float]
    """95% percentile bootstrap over documents, 1,000 resamples, fixed seed."""
    tokens_per_uax29_word: float
    bytes_per_token: float
    characters_per_token: float
    unknown_rate: float
    """Share of tokens that stand for text the tokenizer could not represent."""
    byte_fallback_rate: float
    """Share of tokens that are single bytes of a character no token covered."""
    words_kept_whole: float
    """Share of whitespace-word occurrences that are one known token as they stand in running text.

    A word is whole where encoding ". " + word gives the tokens of "." and exactly one more. For byte-level
    vocabularies that is " " + word in one token; for SentencePiece, which puts a space before any text
    itself, it is its "▁word".
    """
    round_trip_failures: int
    """Documents whose decode(encode(text)) is not the text."""
    vocabulary_used: float
    """Share of the tokenizer's `size` ids that occur."""
    embedding_share: float | None
    """size × embedding width / parameters: the share of one embedding matrix. None where not asked."""


def report(
    tokenizer: Tokenizer,
    documents: Iterable[str],
    *,
    name: str,
    language: str,
    embedding_width: int | None = None,
    parameters: int | None = None,
) -> TokenizerReport:
    """Measure `tokenizer` on `documents`, read once.

    embedding_width, parameters: of a model, for `embedding_share`; both or neither.
    Raises DataError where the documents hold no word, and so nothing to divide by.
    """
    if (embedding_width is None) != (parameters is None) or (parameters is not None and parameters <= 0):
        raise DataError("embedding_share needs embedding_width and a positive number of parameters, or neither")
    size_bytes = characters = uax29 = unknown = fallback = failures = 0
    vocabulary: Counter[str] = Counter()
    used: set[int] = set()
    tokens_of: list[int] = []  # per document
    words_of: list[int] = []
    for batch in _batches(documents):
        for text, ids in zip(batch, tokenizer.encode_batch(batch), strict=True):
            words = whitespace_words(text)
            vocabulary.update(words)
            tokens_of.append(len(ids))
            words_of.append(len(words))
            size_bytes += len(text.encode("utf-8"))
            characters += len(text)
            uax29 += len(unicode_words(text))
            used.update(ids)
            unknown += tokenizer.unknown(ids)
            fallback += tokenizer.byte_fallback(ids)
            failures += tokenizer.decode(ids) != text
    tokens, words_total = sum(tokens_of), sum(words_of)
    if not words_total or not tokens:
        raise DataError(f"{len(tokens_of)} documents hold {words_total} words and {tokens} tokens: nothing to report")
    share = None if embedding_width is None or parameters is None else tokenizer.size * embedding_width / parameters
    return TokenizerReport(
        name=name,
        language=language,
        fingerprint=tokenizer.fingerprint,
        size=tokenizer.size,
        documents=len(tokens_of),
        bytes=size_bytes,
        characters=characters,
        words=words_total,
        uax29_words=uax29,
        tokens=tokens,
        tokens_per_word=tokens / words_total,
        tokens_per_word_interval=_interval(tokens_of, words_of),
        tokens_per_uax29_word=tokens / uax29 if uax29 else float("nan"),
        bytes_per_token=size_bytes / tokens,
        characters_per_token=characters / tokens,
        unknown_rate=unknown / tokens,
        byte_fallback_rate=fallback / tokens,
        words_kept_whole=_whole(tokenizer, vocabulary) / words_total,
        round_trip_failures=failures,
        vocabulary_used=len(used) / tokenizer.size,
        embedding_share=share,
    )


def parity(report: TokenizerReport, reference_report: TokenizerReport) -> float:
    """Return tokens here / tokens in the reference language, on parallel documents: 1 is equal treatment.

    Definition: Petrov et al. 2023, "Language Model Tokenizers Introduce Unfairness Between Languages".
    Raises DataError where the two reports are not of one tokenizer on as many documents.
    """
    if report.fingerprint != reference_report.fingerprint:
        names = f"{report.name!r} and {reference_report.name!r}"
        raise DataError(f"parity compares languages under one tokenizer; {names} are two")
    if report.documents != reference_report.documents:
        counts = " and ".join(f"{r.documents} in {r.language}" for r in (report, reference_report))
        raise DataError(f"parity needs the same documents in both languages; there are {counts}")
    return report.tokens / reference_report.tokens


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(documents)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch


def _whole(tokenizer: Tokenizer, vocabulary: Counter[str]) -> int:
    """Count the occurrences of words that are one token; each distinct word is encoded once."""
    prefix = tokenizer.encode(_ANCHOR)
    whole = 0
    for batch in _batches(vocabulary):
        for word, ids in zip(batch, tokenizer.encode_batch([f"{_ANCHOR} {w}" for w in batch]), strict=True):
            if len(ids) == len(prefix) + 1 and ids[:-1] == prefix and not tokenizer.unknown(ids[-1:]):
                whole += vocabulary[word]
    return whole


def _interval(tokens: Sequence[int], words: Sequence[int]) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of tokens per word when documents are drawn with replacement."""
    generator = np.random.default_rng(_SEED)
    t, w = np.asarray(tokens, dtype=np.float64), np.asarray(words, dtype=np.float64)  # [documents]
    ratios = []
    for _ in range(_RESAMPLES):
        drawn = np.bincount(generator.integers(len(t), size=len(t)), minlength=len(t))  # times each is drawn
        if (total := float(drawn @ w)) > 0:  # a resample of wordless documents has no fertility
            ratios.append(float(drawn @ t) / total)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)
