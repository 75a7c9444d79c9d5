"""Minimal pairs: a sentence and one that differs from it by a fault of grammar."""

from __future__ import annotations

from collections.abc import Iterator

from tilbench.data.dataset import Dataset

__all__ = ["sentence_pair_datasets"]

# language → code on the Hub, name, pairs
_MULTIBLIMP = {
    "en-Latn": ("eng", "English", 770),
    "it-Latn": ("ita", "Italian", 2999),
    "kk-Cyrl": ("kaz", "Kazakh", 173),
    "ky-Cyrl": ("kir", "Kyrgyz", 185),
    "ru-Cyrl": ("rus", "Russian", 3832),
    "tr-Latn": ("tur", "Turkish", 1742),
    "ug-Arab": ("uig", "Uyghur", 758),
}


def sentence_pair_datasets() -> Iterator[tuple[str, Dataset]]:
    """Yield name and dataset of MultiBLiMP in each language; the good sentence is the source."""
    for tag, (code, language, pairs) in _MULTIBLIMP.items():
        dataset = Dataset(
            kind="pairs",
            language=tag,
            hub="jumelet/multiblimp",
            config=code,
            split="train",
            columns={"source": "sen", "target": "wrong_sen"},
            licence="CC BY 4.0",
            citation="MultiBLiMP, arXiv 2504.02768",
            summary=f"MultiBLiMP, {language}: {pairs:,} pairs of a sentence and one that does not agree in grammar",
        )
        yield f"multiblimp/{tag.split('-')[0]}", dataset
