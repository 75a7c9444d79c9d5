"""`tilbench show`: one registered thing whole."""

from __future__ import annotations

import inspect
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tilbench.cli.app import App, console, data_option, json_option, print_json
from tilbench.errors import MissingDataset, TilbenchError, UnknownName
from tilbench.registry import KINDS

if TYPE_CHECKING:
    from tilbench.data.dataset import Dataset
    from tilbench.data.resolve import Rows
    from tilbench.registry import Registry

__all__ = ["show"]

_SHOWN = 400
"""Characters of one text of a row that are shown; `--json` gives all."""


@click.command()
@click.argument("name")
@click.option("--kind", help="Which kind of thing, where one name stands for several.")
@data_option
@json_option
@click.pass_obj
def show(app: App, name: str, kind: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Show one registered thing whole: a model's spec, a dataset, a language, a suite … or a run or checkpoint.

    Of a model, where its parameters are, what its cache takes, how it is trained, and what its document reports. Of a
    dataset, the file that a run would read, how many rows it has, and the first of them.

    \b
    Example:
      tilbench show til-mini-1b --json
      tilbench show turkish-v1
      tilbench show runs/a
      tilbench show text/kk/heldout --data DIR
    """
    registry = app.host.registry
    found = _find(registry, name, kind, data_dir)
    described = {"kind": found, "name": name, **_describe(registry, found, name, data_dir)}
    if as_json:
        print_json(described)
        return
    if found == "models":
        from tilbench.cli.model_page import print_model

        print_model(described, console())
        return
    if "first_row" in described:
        described["first_row"] = _shortened(described["first_row"])
    console().print(_yaml(described), soft_wrap=True)


def _find(registry: Registry, name: str, kind: str | None, data_dir: Path | None) -> str:
    if kind is not None and kind not in KINDS:
        raise UnknownName("kind", kind, KINDS)
    from tilbench.resolve.suites import suite_names

    base = name.partition(":")[0]
    known = {each: set(registry.names(each)) for each in KINDS}
    known["suites"] |= set(suite_names(registry))
    holders = [
        each
        for each in ([kind] if kind else KINDS)
        if name in known[each] or (each == "models" and base in known["models"])
    ]
    if not holders and kind in (None, "models") and _is_model_folder(name):
        return "models"
    if not holders and kind in (None, "datasets"):
        from tilbench.data.resolve import unregistered

        if unregistered(name, data_dir) is not None:
            return "datasets"
    if not holders:
        everything = {one for each in ([kind] if kind else KINDS) for one in known[each]}
        raise UnknownName(KINDS[kind].noun if kind else "name", name, everything, "see 'tilbench list'")
    if len(holders) > 1:
        raise TilbenchError(f"{name!r} is {' and '.join(holders)}; choose one with --kind")
    return holders[0]


def _is_model_folder(name: str) -> bool:
    from tilbench.resolve.describe import is_model_folder

    return is_model_folder(name)


def _describe(registry: Registry, kind: str, name: str, data_dir: Path | None) -> dict[str, Any]:
    if kind == "models":
        from tilbench.resolve.describe import about_folder, about_spec

        base = name.partition(":")[0]
        return about_spec(name, registry) if base in registry.names("models") else about_folder(name, registry)
    if kind == "datasets":
        return _describe_dataset(registry, name, data_dir)
    if kind == "suites":
        from tilbench.resolve.suites import find_suite

        return find_suite(name, registry).model_dump(mode="json")
    entry = registry.entry(kind, name)
    target = registry.get(kind, name)
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


def _describe_dataset(registry: Registry, name: str, data_dir: Path | None) -> dict[str, Any]:
    """Return a dataset's description and what is at hand of it: origin, number of rows, the first row."""
    from tilbench.resolve.datasets import find_dataset

    _, dataset = find_dataset(name, registry, data_dir)
    about = asdict(dataset)
    if name in registry.names("datasets"):
        entry = registry.entry("datasets", name)
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
    from tilbench.data.resolve import find_file, load_rows

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


def _shortened(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose long texts are cut."""
    return {
        field: value[:_SHOWN] + " …" if isinstance(value, str) and len(value) > _SHOWN else value
        for field, value in row.items()
    }


def _yaml(data: Any) -> str:
    """Return data as YAML for people: texts of several lines stand as they are."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    dumped: str = yaml.dump(_plain(data), Dumper=Dumper, allow_unicode=True, sort_keys=False, width=100)
    return dumped.rstrip()


def _plain(data: Any) -> Any:
    """Return data that YAML writes without tags."""
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple | set | frozenset):
        return [_plain(value) for value in data]
    return data if data is None or isinstance(data, str | int | float | bool) else str(data)
