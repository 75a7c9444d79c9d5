"""The Python API: what `import tilbench` offers. docs/python.md explains it with examples.

Functions raise `tilbench.errors.TilbenchError` with the one-line messages of the command line. What a function needs is
imported when it is called: reading records imports no torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args

from tilbench.errors import DataError, UnknownName, suggest
from tilbench.loader import Host, load_plugins
from tilbench.paths import data_folder

if TYPE_CHECKING:
    from pandas import DataFrame

    from tilbench.comparison.report import ComparisonReport
    from tilbench.config.model import DType
    from tilbench.config.suite import Suite
    from tilbench.generation.opened import OpenedModel
    from tilbench.kinds.language_model import LanguageModel
    from tilbench.registry import Registry
    from tilbench.resolve.model_options import ModelOptions, PrefixName
    from tilbench.resolve.models import ModelSource
    from tilbench.training.run import TrainedRun

__all__ = ["compare", "load_plugins", "open_model", "read_records", "run_suite", "train"]

StrPath = str | os.PathLike[str]
Training = Literal["never", "auto"]
Progress = Callable[[str, int, int], None]


class OpenArguments(TypedDict, total=False):
    """How a model is found and opened (`tilbench.resolve.model_options.ModelOptions` has the defaults).

    runs: folder in which a spec's run is looked for (default "runs"). device: auto, cpu, cuda … batch_tokens: tokens
    per forward pass. prefix: overrides the token that texts begin with. trust_remote_code: run Python that comes with a
    Hub model or a task file. plugins: what `load_plugins` returned; by default it is called.
    """

    runs: StrPath
    device: str
    dtype: DType
    batch_tokens: int
    prefix: PrefixName
    trust_remote_code: bool
    plugins: Host


class RunArguments(OpenArguments, total=False):
    """How a suite is run, besides.

    data: folder searched for datasets first (default: TILBENCH_DATA). overrides: field → value, laid over the suite of
    a name or file.
    """

    data: StrPath
    overrides: Mapping[str, object]


def run_suite(
    suite: StrPath | Suite,
    models: StrPath | Sequence[StrPath | LanguageModel] = (),
    *,
    out: StrPath = "records",
    tasks: str | Sequence[str] = (),
    limit: int | None = None,
    train: Training | None = None,
    progress: Progress | None = None,
    **options: Unpack[RunArguments],
) -> DataFrame:
    """Score models on a suite, record the results in folder `out`, and return them as `read_records` does.

    suite: a name, a YAML file or a `Suite`. models: one or several of: names, folders, `hf:org/name@revision`, what
    `open_model` or `train` returned, or an object of your own (`tilbench.kinds.language_model.LanguageModel`); by
    default the suite's. The suite's baselines are scored too. tasks: only these. limit: score a seeded sample of this
    many rows per task. train: "auto" trains specs that have no checkpoint (default: what the suite says). progress:
    called with the model's name, the requests answered and the requests in all; without it nothing is printed.

    What is recorded already is not scored again. Raises the first model's error, and what was scored before is kept.
    """
    from tilbench.config.suite import Suite
    from tilbench.evaluation.run_plan import RunConfig, plan_run
    from tilbench.evaluation.runner import run_suite as execute
    from tilbench.resolve.suites import find_suite
    from tilbench.results.frame import records_frame
    from tilbench.results.store import RecordStore
    from tilbench.training.fit import train_if_needed

    if train not in (None, *get_args(Training)):
        raise UnknownName("value of train", str(train), get_args(Training))
    registry = _registry(options)
    overrides = _overrides(options.get("overrides"))
    found = find_suite(suite, registry, overrides) if isinstance(suite, str | os.PathLike) else suite
    if not isinstance(found, Suite):
        raise TypeError(f"suite is {found!r}; give a name, a YAML file or a tilbench.config.suite.Suite")
    named = [_source(each) for each in ([models] if isinstance(models, str | os.PathLike) else models)]
    tasks = [tasks] if isinstance(tasks, str) else tasks
    names = [each if isinstance(each, str) else each.name for each in named]
    config = RunConfig(
        suite=found,
        models=[*(named or found.models), *found.baselines],
        out=Path(out),
        data_dir=data_folder(options.get("data")),
        runs=Path(options.get("runs", "runs")),
        tasks=tasks,
        limit=limit,
        options=_model_options(options, RunArguments),
        train=train_if_needed if (train or found.train) == "auto" else None,
        command=_called(suite, names, tasks=tasks, limit=limit, train=train, **options),
    )
    planned = plan_run(config, registry)
    store = RecordStore(planned.out)
    shares = execute(planned, registry.executors.get("local"), progress or _silent)
    records = [record for share in shares for record in share.records]
    return records_frame((store.place(record), record) for record in records)


def open_model(model: StrPath, **options: Unpack[OpenArguments]) -> OpenedModel:
    """Open a model: a name, a folder, or `hf:org/name@revision`.

    Raises UnknownName, or CheckpointError for what is no model or whose parts do not fit together.
    """
    from tilbench.generation.opened import OpenedModel
    from tilbench.resolve.model_options import open_options
    from tilbench.resolve.models import find_model

    registry = _registry(options)
    source = find_model(os.fspath(model), registry, Path(options.get("runs", "runs")))
    return OpenedModel(source, open_options(_model_options(options, OpenArguments), registry))


def train(
    spec: str,
    out: StrPath | None = None,
    *,
    overrides: Mapping[str, object] | None = None,
    hardware: str = "",
    data: StrPath | None = None,
    progress: bool = False,
    plugins: Host | None = None,
) -> TrainedRun:
    """Train a model spec (`name` or `name:variant`), or resume its run in folder `out` (default: "runs/SPEC").

    overrides: field → value, such as `{"recipe.steps": 60}`. hardware: name of a profile (default: the spec's). data:
    folder searched for datasets first (default: TILBENCH_DATA). progress: show the training on standard error.
    Raises UnknownName, ConfigError, DataError or MissingDataset before anything is written.
    """
    from tilbench.resolve.models import run_folder
    from tilbench.training.fit import train as fit
    from tilbench.training.resolve import resolve_training
    from tilbench.training.run import TrainedRun

    registry = (plugins or load_plugins()).registry
    training = resolve_training(spec, registry, data_folder(data), _overrides(overrides), hardware)
    folder = run_folder(Path("runs"), training.reference) if out is None else Path(out)
    return TrainedRun(folder, fit(training, registry, folder, progress=progress))


def compare(
    records: StrPath, a: StrPath, b: StrPath, *, suite: str = "", tasks: Sequence[str] = ()
) -> ComparisonReport:
    """Say which of two models is better, task by task and over all tasks of one kind, by their records in a folder.

    a, b: names as in the records, or folders of runs. suite, tasks: what is compared; by default everything that both
    have done. Raises UnknownName for a model without records, DataError where nothing can be compared.
    """
    from tilbench.comparison.compare import compare_models
    from tilbench.comparison.report import ComparisonReport
    from tilbench.resolve.recorded_model import recorded_model
    from tilbench.results.store import RecordStore

    store = RecordStore(_records_folder(records))
    entries = [record for _, record in store.records()]
    if not entries:
        raise DataError(f"{records}: no records here; a folder of records has SUITE/TASK/MODEL.json in it")
    first, second = (recorded_model(os.fspath(each), entries) for each in (a, b))
    return ComparisonReport(compare_models(store, first, second, suite=suite, tasks=tasks))


def read_records(folder: StrPath) -> DataFrame:
    """Return the records in a folder: a row per model, task and value. docs/python.md explains the columns.

    Raises DataError where there is no such folder, or a record in it cannot be read.
    """
    from tilbench.results.frame import records_frame
    from tilbench.results.store import RecordStore

    return records_frame(RecordStore(_records_folder(folder)).records())


def _records_folder(folder: StrPath) -> Path:
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is a file; name the folder of records that it lies in")
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; make records with 'tilbench run SUITE --out {path}'")
    return path


def _registry(options: OpenArguments) -> Registry:
    return (options["plugins"] if "plugins" in options else load_plugins()).registry


def _source(model: StrPath | LanguageModel) -> str | ModelSource:
    """Return a reference as text, and the source of an object that was opened already."""
    from tilbench.generation.opened import OpenedModel
    from tilbench.kinds.language_model import ModelCard
    from tilbench.resolve.given import OpenedSource, own_model

    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    if isinstance(model, OpenedModel):
        return OpenedSource(model.source.name, model.source.reference, model.source.loader, model.model, model.options)
    if not isinstance(getattr(model, "card", None), ModelCard):
        raise TypeError(f"{model!r} is no model: give a name, a path, or an object with `card` and `answer`")
    return own_model(model)


def _model_options(given: Mapping[str, Any], arguments: type) -> ModelOptions:
    """Return how models are opened. Raises TypeError for an argument that does not exist."""
    from tilbench.resolve.model_options import ModelOptions

    known = sorted(arguments.__annotations__)
    for name in given:
        if name not in known:
            raise TypeError(suggest(f"unknown argument {name!r}", name, known, f"known: {', '.join(known)}"))
    return ModelOptions(**{each.name: given[each.name] for each in fields(ModelOptions) if each.name in given})


def _overrides(given: Mapping[str, object] | None) -> list[str]:
    """Return overrides as the command line writes them: FIELD=JSON."""
    if not isinstance(given, Mapping | None):
        raise TypeError(f"overrides is {given!r}; give a mapping of fields to values, such as {{'recipe.steps': 60}}")
    return [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in (given or {}).items()]


def _called(suite: StrPath | Suite, models: Sequence[str], **given: object) -> str:
    """Return the call as a record keeps it, beside the commands of the command line."""
    name = os.fspath(suite) if isinstance(suite, str | os.PathLike) else suite.name
    said = [f"{key}={value!r}" for key, value in given.items() if value and key != "plugins"]
    return f"tilbench.run_suite({', '.join([repr(name), repr(list(models)), *said])})"


def _silent(model: str, done: int, total: int) -> None:
    """Show no progress."""
