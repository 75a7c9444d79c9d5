"""One registered thing, or a model's folder, described whole as plain data."""

from __future__ import annotations

import inspect
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

from tilbench.checkpoints.folder import model_folder
from tilbench.data.dataset import Dataset
from tilbench.data.resolve import Rows, find_file, load_rows, unregistered
from tilbench.errors import MissingDataset, TilbenchError, UnknownName
from tilbench.registry import KINDS, Registry
from tilbench.resolve.datasets import find_dataset
from tilbench.resolve.describe_model import describe_checkpoint, describe_spec
from tilbench.resolve.suites import find_suite, suite_names

__all__ = ["describe", "kind_of"]


def kind_of(name: str, registry: Registry, kind: str | None = None, data_dir: Path | None = None) -> str:
    """Return the kind of the thing that is called `name`, registered or in a folder; `kind` narrows the search.

    Raises UnknownName, and TilbenchError where things of several kinds have the name.
    """
    if kind is not None and kind not in KINDS:
        raise UnknownName("kind", kind, KINDS)
    base = name.partition(":")[0]
    known = {each: set(registry.kind(each).names()) for each in KINDS}
    known["suites"] |= set(suite_names(registry))
    holders = [
        each
        for each in ([kind] if kind else KINDS)
        if name in known[each] or (each == "models" and base in known["models"])
    ]
    if not holders and kind in (None, "models") and model_folder(name):
        return "models"
    if not holders and kind in (None, "datasets") and unregistered(name, data_dir) is not None:
        return "datasets"
    if not holders:
        everything = {one for each in ([kind] if kind else KINDS) for one in known[each]}
        raise UnknownName(KINDS[kind].noun if kind else "name", name, everything, "see 'tilbench list'")
    if len(holders) > 1:
        raise TilbenchError(f"{name!r} is {' and '.join(holders)}; choose one with --kind")
    return holders[0]


def describe(name: str, registry: Registry, kind: str | None = None, data_dir: Path | None = None) -> dict[str, Any]:
    """Return all that is known of one thing, as plain data: its `kind`, its `name`, and what its kind has.

    kind: where one name stands for things of several kinds. Raises what `kind_of` and reading the thing raise.
    """
    found = kind_of(name, registry, kind, data_dir)
    base, names = name.partition(":")[0] if found == "models" else name, registry.kind(found)
    registered = {"registered": str(names.origin(base))} if base in names else {}
    return {"kind": found, "name": name, **registered, **_details(registry, found, name, data_dir)}


def _details(registry: Registry, kind: str, name: str, data_dir: Path | None) -> dict[str, Any]:
    if kind == "models":
        base = name.partition(":")[0]
        return describe_spec(name, registry) if base in registry.models.names() else describe_checkpoint(name, registry)
    if kind == "datasets":
        return _describe_dataset(registry, name, data_dir)
    if kind == "suites":
        return find_suite(name, registry).model_dump(mode="json")
    entry = registry.kind(kind).entry(name)
    target = registry.kind(kind).get(name)
    about = {"summary": entry.summary, "plugin": entry.plugin, "distribution": entry.distribution}
    if is_dataclass(target) and not isinstance(target, type):
        return {**about, **asdict(target)}
    fields = {}
    for option in ("Settings", "Options", "Config"):
        schema = getattr(target, option, None)
        if schema is not None:
            fields[option.lower()] = schema.model_json_schema().get("properties", {})
    documentation = inspect.getdoc(target) or ""
    return {**about, "documentation": documentation, **fields}


def _describe_dataset(registry: Registry, name: str, data_dir: Path | None) -> dict[str, object]:
    """Return a dataset's description and what is at hand of it: origin, number of rows, the first row."""
    _, dataset = find_dataset(name, registry, data_dir)
    about = asdict(dataset)
    if name in registry.datasets.names():
        entry = registry.datasets.entry(name)
        about["summary"] = dataset.summary or entry.summary
        about = {"plugin": entry.plugin, "distribution": entry.distribution, **about}
    try:
        rows = _rows_here(name, dataset, data_dir)
    except MissingDataset as error:
        why = str(error)
        return {**about, "rows": why if "not on this machine" in why else f"not on this machine: {why}"}
    language = dataset.language or rows.language
    read = {"origin": rows.origin, "rows": rows.total, "first_row": asdict(rows.rows[0])}
    return {**about, "kind": rows.kind, "language": language, **read}


def _rows_here(name: str, dataset: Dataset, data_dir: Path | None) -> Rows:
    """Read a dataset without the network. Raises MissingDataset with the way to get it, DataError for a bad row."""
    own = data_dir is not None and find_file(data_dir, name) is not None
    if dataset.hub:
        by_id = "/".join(part for part in (dataset.hub, dataset.config, dataset.split) if part)
        try:
            return load_rows(name if own else by_id, replace(dataset, hub=""), data_dir)
        except MissingDataset:
            raise MissingDataset(
                f"a run fetches it from the Hub; without a network put the split at DIR/{by_id}.parquet (or .jsonl) "
                f"and pass --data DIR"
            ) from None
    if dataset.path and not own and not Path(dataset.path).expanduser().exists():
        raise MissingDataset(f"put it at {dataset.path}, or at DIR/{name}.jsonl and pass --data DIR")
    return load_rows(name, dataset, data_dir)
