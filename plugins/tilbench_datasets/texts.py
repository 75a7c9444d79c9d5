"""Running text, translations, word problems and reading comprehension under the ids of the data directory."""

from __future__ import annotations

from collections.abc import Iterator

from tilbench.data.dataset import Dataset

__all__ = ["text_datasets"]

Named = tuple[str, Dataset]

_NAMES = {"en": "English", "it": "Italian", "kk": "Kazakh", "ru": "Russian", "tr": "Turkish"}
_NTREX = ("en-it", "en-kk", "en-ru", "en-tr", "kk-ru", "kk-tr")
_PUD = ("en-it", "en-ru", "en-tr")
_TAGS = {"en": "en-Latn", "it": "it-Latn", "kk": "kk-Cyrl", "ru": "ru-Cyrl", "tr": "tr-Latn"}


def text_datasets() -> Iterator[Named]:
    """Yield name and dataset of every set of texts, pairs, problems and questions on texts."""
    for split in ("validation", "test"):
        also = "; its sentences are in text/kk too" if split == "validation" else ", one a document"
        dataset = Dataset(
            kind="documents",
            language="kk-Cyrl",
            hub="yeshpanovrustem/ner-kazakh",
            split=split,
            columns={"text": "tokens"},
            licence="CC BY 4.0",
            citation="KazNERD, IS2AI",
            summary=f"sentences of KazNERD, words joined by spaces{also}",
        )
        yield f"ner-kazakh/{split}", dataset
    for split in ("train", "heldout"):
        dataset = Dataset(
            kind="documents",
            language="kk-Cyrl",
            licence="CC BY 4.0",
            citation="KazSAnDRA, IS2AI",
            summary=(
                "Kazakh product reviews, noisy, with Russian mixed in: put documents of KazSAnDRA in the data directory"
            ),
        )
        yield f"text/kk-reviews/{split}", dataset
    for corpus, pairs, licence, what in (
        ("ntrex", _NTREX, "CC BY-SA 4.0", "news sentences of NTREX-128, aligned by line"),
        ("pud", _PUD, "CC BY-SA 3.0", "sentences of the Parallel Universal Dependencies treebanks"),
    ):
        for pair in pairs:
            yield f"parallel/{pair}/{corpus}", _parallel(pair, licence, what)
    problems = Dataset(
        kind="prompts",
        language="math",
        columns={"prompt": "question", "reference": "answer"},
        licence="MIT",
        citation="openai/grade-school-math",
        summary="GSM8K, 1,319 word problems with worked answers: put it in the data directory (question, answer)",
    )
    yield "gen/gsm8k/test", problems
    readings = Dataset(
        kind="readings",
        language="kk-Cyrl",
        licence="CC BY-SA 4.0",
        citation="KazQAD, IS2AI/KazQAD",
        summary=(
            "KazQAD, questions on Kazakh texts, the validation split of its reading comprehension part: put it in the "
            "data directory with id, context, question, answers"
        ),
    )
    yield "qa/kazqad/validation", readings


def _parallel(pair: str, licence: str, what: str) -> Dataset:
    source, target = pair.split("-")
    return Dataset(
        kind="pairs",
        language=_TAGS[target],
        columns={"source": "src", "target": "tgt"},
        licence=licence,
        summary=f"{_NAMES[source]} to {_NAMES[target]}, {what}: put it in the data directory with columns src and tgt",
    )
