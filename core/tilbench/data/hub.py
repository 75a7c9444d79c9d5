"""Rows of a dataset on the Hugging Face Hub, through `datasets`, at one revision."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from tilbench.data.dataset import Dataset
from tilbench.errors import MissingDataset, MissingDependency

__all__ = ["hub_rows", "prefer_cache"]

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
    try:
        import datasets
    except ImportError:
        raise MissingDependency("datasets", "hf", f"dataset {name!r} on the Hub") from None
    prefer_cache()
    place = f"hf:{dataset.hub}"
    try:
        loaded = datasets.load_dataset(
            dataset.hub,
            dataset.config or None,
            split=dataset.split,
            revision=dataset.revision,
            streaming=dataset.streaming,
        )
        if dataset.streaming and limit is not None:
            loaded = loaded.shuffle(seed=seed, buffer_size=_BUFFER).take(limit)
        for number, row in enumerate(loaded):
            yield f"{place}:{number}", row if row.get("id") is not None else {**row, "id": str(number)}
    except Exception as error:  # the Hub's clients raise errors of many packages; all mean that there are no rows
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise MissingDataset(
            f"dataset {name!r} ({place}@{dataset.revision}) cannot be had from the Hub: {reason.rstrip('.')}; with a "
            f"network run again, or put the split at DIR/{name}.parquet (or .jsonl) and pass --data DIR"
        ) from None


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
