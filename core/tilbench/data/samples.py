"""The sample data that a language plugin ships, in the layout that every language plugin has."""

from __future__ import annotations

from collections.abc import Iterator

from tilbench.data.dataset import Dataset, RowKind

__all__ = ["LAYOUT", "sample_datasets"]

LAYOUT: dict[str, tuple[RowKind, str, str]] = {
    "text/{}/train": ("documents", "data/text/train.jsonl", "running text of several genres, for training"),
    "text/{}/heldout": (
        "documents",
        "data/text/heldout.jsonl",
        "running text of several genres, never trained on",
    ),
    "questions/{}/dev": ("questions", "data/questions/dev.jsonl", "solved questions for few-shot prompts"),
    "questions/{}/test": (
        "questions",
        "data/questions/test.jsonl",
        "multiple-choice questions of several subjects",
    ),
    "probes/{}": ("probes", "data/probes.jsonl", "prompts whose next word is expected"),
    "prompts/{}": ("prompts", "data/prompts.jsonl", "beginnings of texts to continue"),
}
"""Dataset name (`{}` stands for the language) → kind of rows, file in the plugin, what it is."""


def sample_datasets(
    package: str, tag: str, *, samples: str = "", licence: str = "Apache-2.0"
) -> Iterator[tuple[str, Dataset]]:
    """Yield name and dataset of each sample file of the language `tag` shipped in `package`.

    samples: what the names have for the language; by default the first part of `tag`.
    """
    for pattern, (kind, file, summary) in LAYOUT.items():
        yield (
            pattern.format(samples or tag.split("-")[0]),
            Dataset(kind=kind, language=tag, package=package, file=file, licence=licence, summary=summary),
        )
