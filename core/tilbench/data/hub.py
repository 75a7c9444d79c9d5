"""Rows of a dataset on the Hugging Face Hub, through `datasets`, at one revision."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tilbench.data.dataset import Dataset
from tilbench.errors import DataError, MissingDataset, MissingDependency

__all__ = ["hub_rows", "interleaved_rows", "prefer_cache"]

_BUFFER = 10_000
_PATIENCE = 5.0
"""Seconds to wait for the Hub before it counts as out of reach."""


def hub_rows(
    name: str, dataset: Dataset, limit: int | None = None, seed: int = 0
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield `(place, columns)` of each row. A row with no `id` gets its number as one.

    A stream may have no end in sight, so there `limit` rows are drawn by `seed` from its shuffled beginning (a buffer
    of 10,000 rows), and no more than these are read. Of a dataset that is stored whole, all rows are given.
    A dataset's own Python code is never run. Raises MissingDataset with the way to get the data where the
    Hub cannot be reached or has no such dataset, MissingDependency without `datasets`.
    """
    datasets = _library(name)
    place = f"hf:{dataset.hub}"
    try:
        loaded = _loaded(datasets, dataset)
        if dataset.streaming and limit is not None:
            loaded = loaded.shuffle(seed=seed, buffer_size=_BUFFER).take(limit)
        for number, row in enumerate(loaded):
            yield f"{place}:{number}", row if row.get("id") is not None else {**row, "id": str(number)}
    except Exception as error:  # the Hub's clients raise errors of many packages; all mean that there are no rows
        raise MissingDataset(
            f"dataset {name!r} cannot be had from the Hub: {_why(error, f'{place}@{dataset.revision}: ')}; with a "
            f"network run again, or put the split at DIR/{name}.parquet (or .jsonl) and pass --data DIR"
        ) from None


def interleaved_rows(
    name: str, mix: Sequence[tuple[Dataset, float]], limit: int | None = None, seed: int = 0
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield `(place, columns)` of Hub streams, drawn from in turn by `datasets.interleave_datasets`.

    mix: streams with the same columns under the names of our fields, and how often each is drawn from, which need not
    sum to 1. The draw ends with the first stream that is exhausted, or after `limit` rows, and is decided by `seed`.
    Raises DataError for weights that sum to zero, and what `hub_rows` raises.
    """
    total = sum(weight for _, weight in mix)
    if total <= 0:
        raise DataError(f"dataset {name!r}: the weights of its streams sum to zero; give one of them a weight")
    datasets = _library(name)
    try:
        streams = []
        for dataset, _ in mix:
            stream = _loaded(datasets, dataset)
            columns = {theirs: ours for ours, theirs in dataset.columns.items() if ours != theirs}
            stream = stream.rename_columns(columns).select_columns([*(dataset.columns or ("text",))])
            streams.append(stream)
        drawn = datasets.interleave_datasets(
            streams, probabilities=[weight / total for _, weight in mix], seed=seed, stopping_strategy="first_exhausted"
        )
        for number, row in enumerate(drawn if limit is None else drawn.take(limit)):
            yield f"{name}:{number}", {**row, "id": str(number)}
    except Exception as error:  # the Hub's clients raise errors of many packages
        raise MissingDataset(
            f"dataset {name!r} cannot be drawn from its Hub streams: {_why(error)}; with a network run again, "
            f"or put its rows at DIR/{name}.jsonl and pass --data DIR"
        ) from None


def _why(error: Exception, place: str = "") -> str:
    """Return why there are no rows: one and the same for all datasets where the Hub is out of reach."""
    if isinstance(error, ConnectionError):
        return "it is out of reach"
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    return f"{place}{reason.rstrip('.')}"


def _library(name: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingDependency("datasets", "hf", f"dataset {name!r} on the Hub") from None
    prefer_cache()
    return datasets


def _loaded(datasets: Any, dataset: Dataset) -> Any:
    return datasets.load_dataset(
        dataset.hub,
        dataset.config or None,
        split=dataset.split,
        revision=dataset.revision,
        streaming=dataset.streaming,
    )


def prefer_cache() -> None:
    """Let the Hub's clients use what is cached, where the Hub is out of reach.

    They would try everything five times over half a minute.
    """
    import datasets
    from huggingface_hub import constants

    if not _reachable():
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


@functools.cache
def _reachable() -> bool:
    """Say whether the Hub answers at all; it is asked once."""
    from huggingface_hub import constants
    from huggingface_hub.utils._http import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception:  # whatever the Hub's client raises, the Hub was not reached
        return False
    return True
