"""How a tokenizer treats a language: fertility, compression, coverage and losses, over documents.

Only the tokens of the text count: special tokens, padding and truncation have no part in any figure, as no
tokenizer here applies them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tilbench.config.references import parse_spec
from tilbench.data.rows import Pair
from tilbench.errors import DataError
from tilbench.kinds.architecture import Architecture
from tilbench.kinds.capabilities.tokenizer import StatesSplitting
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.registry import Registry
from tilbench.resolve.datasets import documents, rows_of
from tilbench.resolve.specs import load_spec
from tilbench.resolve.tokenizers import load_tokenizer
from tilbench.results.statistics import ratio_interval
from tilbench.text.words import unicode_words, whitespace_words

__all__ = ["TokenizerReport", "compare_tokenizers", "embedding_share", "parity", "report_on"]

_BATCH = 512  # documents encoded at once
_ANCHOR = "."  # stands before a word that is looked at alone, so that the word is not the start of the text


@dataclass(frozen=True, slots=True)
class TokenizerReport:
    """One tokenizer on one set of documents. Rates and shares are between 0 and 1; nothing is rounded."""

    fingerprint: str
    """The tokenizer's."""
    size: int
    pre_tokenizer: str
    """How the tokenizer splits a text before it forms tokens, in its own words: no token crosses a split."""
    documents: int
    bytes: int
    """Of the documents in UTF-8."""
    characters: int
    """Code points."""
    words: int
    """Whitespace words (`tilbench.text.words.whitespace_words`)."""
    uax29_words: int
    """Words of UAX #29 with a letter or number (`tilbench.text.words.unicode_words`)."""
    tokens: int
    tokens_per_word: float
    """Fertility: all tokens / all whitespace words (Ács 2019; Rust et al. 2021)."""
    tokens_per_word_interval: tuple[float, float] | None
    """95%, documents taken as independent; None for a single document."""
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


def report_on(tokenizer: Tokenizer, texts: Iterable[str]) -> TokenizerReport:
    """Measure `tokenizer` on documents, read once.

    Raises DataError where the documents hold no word, and so nothing to divide by.
    """
    size_bytes = characters = uax29 = unknown = fallback = failures = 0
    vocabulary: Counter[str] = Counter()
    used: set[int] = set()
    tokens_of: list[int] = []  # per document
    words_of: list[int] = []
    for batch in _batches(texts):
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
    return TokenizerReport(
        fingerprint=tokenizer.fingerprint,
        size=tokenizer.size,
        pre_tokenizer=tokenizer.pre_tokenizer if isinstance(tokenizer, StatesSplitting) else "not stated",
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
    )


def parity(tokenizer: Tokenizer, texts: Sequence[str], reference: Sequence[str]) -> float:
    """Return the tokens of `texts` over those of the same texts in a reference language: 1 is equal treatment.

    Definition: Petrov et al. 2023, "Language Model Tokenizers Introduce Unfairness Between Languages".
    Raises DataError where there are not as many texts in both languages, or none.
    """
    if len(texts) != len(reference) or not texts:
        raise DataError(f"parity needs each text in both languages; there are {len(texts)} and {len(reference)}")
    tokens, reference_tokens = (
        sum(len(ids) for batch in _batches(side) for ids in tokenizer.encode_batch(batch))
        for side in (texts, reference)
    )
    return tokens / reference_tokens


def embedding_share(architecture: Architecture, config: Any) -> float:
    """Return the share of a model's parameters that is in tables of one row per vocabulary entry.

    Tied tables count once, as in the number of parameters.
    """
    import torch

    with torch.device("meta"):
        module = architecture.build(config)
    tables = sum(each.numel() for each in module.parameters() if each.ndim == 2 and each.shape[0] == config.vocab_size)
    return tables / sum(each.numel() for each in module.parameters())


def compare_tokenizers(
    tokenizers: Sequence[str],
    datasets: Sequence[str],
    registry: Registry,
    *,
    parallel: Sequence[str] = (),
    model: str = "",
    data_dir: Path | None = None,
    limit: int | None = None,
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return a row of figures per tokenizer and dataset of documents, and one per tokenizer and dataset of pairs.

    tokenizers: references. model: a spec; `embedding_share` is the share of its parameters that each vocabulary would
    take (None without a model). limit: documents and pairs of a seeded sample. Raises DataError where a dataset holds
    other rows, and what resolving a name raises.
    """
    loaded = {name: load_tokenizer(name, registry) for name in tokenizers}
    shares = {name: _share_in(model, registry, each.size) if model else None for name, each in loaded.items()}
    reports: list[dict[str, object]] = []
    for dataset in datasets:
        used, rows = documents(dataset, registry, data_dir, limit=limit)
        texts = [row.text for row in rows]
        for name, each in loaded.items():
            named = {"tokenizer": name, "family": each.family, "dataset": dataset, "language": used.language}
            figures = {**asdict(report_on(each, texts)), "rows_fingerprint": used.fingerprint}
            reports.append({**named, **figures, "embedding_share": shares[name]})
    parities: list[dict[str, object]] = []
    for dataset in parallel:
        pairs = [row for row in rows_of(dataset, registry, data_dir, limit=limit).rows if isinstance(row, Pair)]
        if not pairs:
            raise DataError(f"dataset {dataset!r} holds no pairs; parity needs a text in two languages")
        for name, each in loaded.items():
            ratio = parity(each, [pair.target for pair in pairs], [pair.source for pair in pairs])
            parities.append({"tokenizer": name, "dataset": dataset, "pairs": len(pairs), "target_over_source": ratio})
    return reports, parities


def _share_in(model: str, registry: Registry, size: int) -> float:
    """Return the share of a spec's parameters in its embedding, were its vocabulary of `size` entries."""
    spec = load_spec(parse_spec(model), registry)
    architecture = registry.architectures.get(spec.architecture.name)
    return embedding_share(architecture, architecture.Config(**{**spec.architecture.config, "vocab_size": size}))


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


def _interval(tokens: Sequence[int], words: Sequence[int]) -> tuple[float, float] | None:
    """Return the 95% interval of tokens per word."""
    each = [str(number) for number in range(len(tokens))]
    found = ratio_interval(tokens, words, each)
    return None if found is None else (found.low, found.high)
