"""Every hook a plugin can implement: one per kind, so this page is the architecture at a glance.

A plugin is a module with functions marked `@tilbench.hookimpl`. Each hook is handed a `register` callable:
`register(name, target, summary="…")`. A target is the object itself, or text that is resolved on first use, so
that finding plugins imports nothing heavy: `"package.module:Name"` imports a Python object (a class is
called with no arguments where the kind wants an instance), and `"package/file.yaml"` reads a YAML file of the
kind's schema.
"""

from __future__ import annotations

from typing import Protocol

import pluggy

__all__ = ["Register", "hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("tilbench")
hookimpl = pluggy.HookimplMarker("tilbench")
"""Marks a plugin's hooks; plugins import it from `tilbench`."""


class Register(Protocol):
    """Handed to hooks; refuses a name that is taken."""

    def __call__(self, name: str, target: object, *, summary: str = "") -> None:
        """Register `target` under `name`; `summary` is one line for listings."""


@hookspec
def register_languages(register: Register) -> None:
    """Languages and domains: `tilbench.kinds.language.Language`, or a YAML file of its fields."""


@hookspec
def register_datasets(register: Register) -> None:
    """Datasets: `tilbench.data.dataset.Dataset`. A data directory is searched by the same name first."""


@hookspec
def register_tokenizers(register: Register) -> None:
    """Tokenizer families: `tilbench.kinds.tokenizer.TokenizerFamily`."""


@hookspec
def register_architectures(register: Register) -> None:
    """Architectures: `tilbench.kinds.architecture.Architecture`."""


@hookspec
def register_models(register: Register) -> None:
    """Model specs: YAML files of `tilbench.config.model.ModelSpec`."""


@hookspec
def register_trainers(register: Register) -> None:
    """Trainers: `tilbench.kinds.trainer.Trainer`."""


@hookspec
def register_hardware(register: Register) -> None:
    """Hardware profiles: `tilbench.kinds.hardware.HardwareProfile`, or a function that detects one."""


@hookspec
def register_metrics(register: Register) -> None:
    """Metrics: classes of `tilbench.kinds.metric.Metric`."""


@hookspec
def register_loaders(register: Register) -> None:
    """Loaders: `tilbench.kinds.language_model.Loader`, from a model reference to something that answers."""


@hookspec
def register_exporters(register: Register) -> None:
    """Exporters: `tilbench.kinds.exporter.Exporter`."""


@hookspec
def register_executors(register: Register) -> None:
    """Executors: `tilbench.kinds.executor.Executor`."""


@hookspec
def register_suites(register: Register) -> None:
    """Suites: YAML files of `tilbench.config.suite.Suite`."""


@hookspec
def register_commands(register: Register) -> None:
    """Subcommands of `tilbench`: `click.Command`, or `"package.module:command"`, imported when it is called."""
