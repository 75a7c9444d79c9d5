"""What sets two records of one task apart besides the model: the token before a text, and the windows of long texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tilbench.kinds.language_model import ModelCard
from tilbench.results.cells import Column, Row
from tilbench.results.record import Record

__all__ = ["conditions", "conditions_of_board"]

_ID = re.compile(r"(?:\bid (\d+)|\((\d+)\))(?:,|$)")


def conditions(records: Sequence[tuple[str, Record]]) -> list[str]:
    """Return, in words, the conditions under which the labelled records of one task were made, where they differ.

    Policies of a prefix differ where one model has none, where they stand before other texts (whole documents only, or
    contexts too), or where models with one tokenizer have another token. Windows differ where some text took several
    windows in some record, and the windows are not of one size.
    """
    return [*_prefixes(records), *_windows(records)]


def conditions_of_board(columns: Iterable[Column], rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the conditions that differ within columns of a board, each with the labels of its columns."""
    found: dict[str, list[str]] = {}
    for column in columns:
        made = [(row.label, cell.record) for row in rows if (cell := row.cells.get(column.key)) and cell.score]
        for condition in conditions(made):
            found.setdefault(condition, []).append(column.label)
    return found


def _prefixes(records: Sequence[tuple[str, Record]]) -> list[str]:
    reading = [(label, record.model) for label, record in records if record.model.prefix and record.model.tokenizer]
    kinds = {_kind(model) for _, model in reading}
    named = {(model.tokenizer, _token(model)) for _, model in reading}
    if len(kinds) < 2 and len(named) == len({tokenizer for tokenizer, _ in named}):
        return []
    return [f"the prefix before a text differs: {_grouped((model.prefix, label) for label, model in reading)}"]


def _token(model: ModelCard) -> str:
    """Return the id of the prefix token: a loader shows it as `id 1`, another one as `<s> (1)`."""
    found = _ID.search(model.prefix)
    return model.prefix if found is None else found[1] or found[2]


def _kind(model: ModelCard) -> str:
    if model.prefix.startswith("none"):
        return "none"
    return "documents" if model.prefix.endswith("before whole documents only") else "texts"


def _windows(records: Sequence[tuple[str, Record]]) -> list[str]:
    if not any(record.reading and record.reading.windowed_rows for _, record in records):
        return []
    sizes = [(_window(record), label) for label, record in records if record.model.tokenizer]
    if len({size for size, _ in sizes}) < 2:
        return []
    again = records[0][1].task.settings.get("prefix_each_window")
    begun = "the prefix stands before each" if again else "the prefix stands before the first only"
    return [f"the windows of long texts differ ({begun}): {_grouped(sizes)}"]


def _window(record: Record) -> str:
    """Return the size of the windows that long texts are scored in."""
    limits = [size for size in (record.task.settings.get("window"), record.model.max_length) if size]
    return f"{min(limits):,} tokens" if limits else "one window"


def _grouped(pairs: Iterable[tuple[str, str]]) -> str:
    """Return each condition with the labels that have it."""
    groups: dict[str, list[str]] = {}
    for condition, label in pairs:
        groups.setdefault(condition, []).append(label)
    return "; ".join(f"{condition} for {', '.join(labels)}" for condition, labels in _ordered(groups).items())


def _ordered(groups: Mapping[str, list[str]]) -> Mapping[str, list[str]]:
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))
