"""The parallel texts of NTREX-128 read the other way round: one file of pairs is two datasets."""

from __future__ import annotations

from collections.abc import Iterator

from tilbench.data.dataset import Dataset

__all__ = ["reversed_datasets"]

_LANGUAGES = {
    "en": ("en-Latn", "English"),
    "it": ("it-Latn", "Italian"),
    "kk": ("kk-Cyrl", "Kazakh"),
    "ru": ("ru-Cyrl", "Russian"),
    "tr": ("tr-Latn", "Turkish"),
}
_STORED = ("en-it", "en-kk", "en-ru", "en-tr", "kk-ru", "kk-tr")


def reversed_datasets() -> Iterator[tuple[str, Dataset]]:
    """Yield `parallel/ru-kk/ntrex` for the file `parallel/kk-ru/ntrex`, and so on."""
    for pair in _STORED:
        target, source = pair.split("-")
        tag, name = _LANGUAGES[target]
        dataset = Dataset(
            kind="pairs",
            language=tag,
            stored_as=f"parallel/{pair}/ntrex",
            columns={"source": "tgt", "target": "src"},
            licence="CC BY-SA 4.0",
            citation="NTREX-128, MicrosoftTranslator/NTREX",
            summary=(
                f"{_LANGUAGES[source][1]} to {name}, news sentences of NTREX-128, aligned by line: "
                f"the file of parallel/{pair}/ntrex read the other way round"
            ),
        )
        yield f"parallel/{source}-{target}/ntrex", dataset
