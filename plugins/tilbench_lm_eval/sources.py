"""Where the documents of a task come from: the data directory first, then files it names, then the Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tilbench.data.files import EXTENSIONS, read_rows
from tilbench.data.hub import prefer_cache
from tilbench.data.resolve import find_file
from tilbench.errors import DataError, MissingDataset
from tilbench_lm_eval.library import quiet

__all__ = ["dataset_name", "load_splits"]

_BUILDERS = ("json", "parquet", "csv", "text")
"""`dataset_path` that stands for files, in `dataset_kwargs: data_files`, and not for a dataset of the Hub."""


def dataset_name(config: Mapping[str, Any]) -> str:
    """Return what a task's dataset is called: its id and its configuration."""
    parts = (config.get("dataset_path"), config.get("dataset_name"))
    return "/".join(str(part) for part in parts if part) or str(config.get("task", ""))


def load_splits(config: Mapping[str, Any], shots: int, data_dir: Path | None) -> tuple[str, Mapping[str, Any]]:
    """Return where a task's documents are from, for people, and its `datasets.Dataset` of every split.

    config: the task's. Raises MissingDataset with the way to get them where they cannot be had, DataError for a bad
    file. A split that only holds examples may be missing where none is shown.
    """
    files = _local_files(config, data_dir)
    if not files:
        return _fetched(config, data_dir)
    scored = config.get("test_split") or config.get("validation_split") or ""
    pool = _pool(config)
    for split in (scored, *([pool] if shots else [])):
        if split not in files:
            raise MissingDataset(f"{_what(config)}: split {split!r} is missing; {_way_out(config, split, data_dir)}")
    read = {split: _read(path) for split, path in files.items()}
    absent = {split: read[scored].select([]) for split in _splits(config) if split not in read}
    return ", ".join(map(str, files.values())), {**read, **absent}


def _splits(config: Mapping[str, Any]) -> list[str]:
    """Return the splits that a task names."""
    named = [config.get(f"{which}_split") for which in ("test", "validation", "training", "fewshot")]
    return list(dict.fromkeys(str(split) for split in (*named, _pool(config)) if split))


def _pool(config: Mapping[str, Any]) -> str:
    """Return the split that examples are drawn from, "" where the task lists them itself."""
    own = config.get("fewshot_config") or {}
    split = own.get("split") or config.get("fewshot_split")
    if split or own.get("samples"):
        return str(split or "")
    return str(config.get("training_split") or config.get("validation_split") or config.get("test_split") or "")


def _local_files(config: Mapping[str, Any], data_dir: Path | None) -> dict[str, Path]:
    """Return the file of each split that is on this machine."""
    if config.get("dataset_path") in _BUILDERS:
        return _named_files((config.get("dataset_kwargs") or {}).get("data_files"), data_dir)
    if data_dir is None or not config.get("dataset_path"):
        return {}
    found = {split: find_file(data_dir, f"{dataset_name(config)}/{split}") for split in _splits(config)}
    return {split: path for split, path in found.items() if path is not None}


def _named_files(data_files: Any, data_dir: Path | None) -> dict[str, Path]:
    """Return the files of `data_files`, read from the current folder or the data directory; none if one is missing."""
    named = data_files if isinstance(data_files, Mapping) else {"train": data_files}
    found: dict[str, Path] = {}
    for split, value in named.items():
        one = value[0] if isinstance(value, list) and len(value) == 1 else value
        places = [Path(one), *([data_dir / one] if data_dir else [])] if isinstance(one, str) else []
        path = next((place for place in places if place.is_file()), None)
        if path is None or not any(path.name.endswith(extension) for extension in EXTENSIONS):
            return {}
        found[str(split)] = path
    return found


def _read(path: Path) -> Any:
    """Return a file's rows as a `datasets.Dataset`; a row with no `id` has its line number as one."""
    with quiet():
        import datasets
        import pyarrow
    if path.name.endswith(".parquet"):
        import pyarrow.parquet

        try:
            return datasets.Dataset(pyarrow.parquet.read_table(path))
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from None
    rows = [row for _, row in read_rows(path)]
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    try:
        return datasets.Dataset.from_dict(columns)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"{path}: a column holds values of several types: {str(error).splitlines()[0]}") from None


def _fetched(config: Mapping[str, Any], data_dir: Path | None) -> tuple[str, Mapping[str, Any]]:
    """Load a dataset as the harness does; code of its own is never run."""
    options = {key: value for key, value in (config.get("dataset_kwargs") or {}).items() if key != "trust_remote_code"}
    try:
        with quiet():
            import datasets

            prefer_cache()
            path, name = config.get("dataset_path"), config.get("dataset_name")
            return f"hf:{dataset_name(config)}", datasets.load_dataset(path, name, **options)
    except Exception as error:  # the Hub's clients raise errors of many packages; all mean that there are no rows
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise MissingDataset(
            f"{_what(config)} cannot be had: {reason.rstrip('.')}; {_way_out(config, '', data_dir)}"
        ) from None


def _what(config: Mapping[str, Any]) -> str:
    return f"dataset {dataset_name(config)!r} of lm-eval task {config.get('task')!r}"


def _way_out(config: Mapping[str, Any], split: str, data_dir: Path | None) -> str:
    if config.get("dataset_path") in _BUILDERS:
        return "its 'data_files' are read from the current folder, or from the one given with --data"
    splits: Sequence[str] = [split] if split else _splits(config)
    folder = data_dir or "DIR"
    names = " and ".join(f"{folder}/{dataset_name(config)}/{each}.jsonl" for each in splits)
    return f"with a network run again, or put {names} (or .jsonl.gz, .parquet) there and pass --data {folder}"
