"""`tilbench doctor`: is this installation whole, and what could be added to it?"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from tilbench.cli.app import App, json_option, print_json
from tilbench.errors import TilbenchError
from tilbench.registry import KINDS

__all__ = ["doctor"]

_OPTIONAL = {
    "transformers": "hf",
    "peft": "hf",
    "datasets": "hf",
    "tiktoken": "hf",
    "sentencepiece": "hf",
    "mistral_common": "hf",
    "lm_eval": "lm-eval",
    "streamlit": "leaderboard",
    "altair": "leaderboard",
    "pandas": "leaderboard",
    "onnx": "onnx",
    "onnxruntime": "onnx",
}


@click.command()
@json_option
@click.pass_obj
def doctor(app: App, as_json: bool) -> int:
    """Load every plugin and everything it registered; say what is broken and what is not installed.

    Ends with status 1 where something is broken.

    \b
    Example:
      tilbench doctor
    """
    findings = [*_plugins(app), *_entries(app)]
    report = {
        "ok": not findings,
        "broken": findings,
        "packages": _packages(),
        "python": sys.version.split()[0],
    }
    if as_json:
        print_json(report)
    else:
        for name, state in _packages().items():
            click.echo(f"{name}: {state}")
        for finding in findings:
            click.echo(f"broken: {finding['what']}: {finding['why']}")
        click.echo("everything registered can be used" if not findings else f"{len(findings)} things are broken")
    return 1 if findings else 0


def _plugins(app: App) -> list[dict[str, str]]:
    return [
        {"what": f"plugin {plugin.name} ({plugin.distribution})", "why": plugin.error} for plugin in app.host.broken
    ]


def _entries(app: App) -> list[dict[str, str]]:
    """Resolve everything registered, so that a bad import or file shows here and not in the middle of a run."""
    from tilbench.config.references import SpecReference
    from tilbench.errors import Unsupported
    from tilbench.resolve.specs import load_spec, variants

    registry = app.host.registry
    broken: list[dict[str, str]] = []
    for kind, described in KINDS.items():
        for name in registry.kind(kind).names():
            try:
                if kind == "models":
                    for variant in ("", *variants(name, registry)):
                        load_spec(SpecReference(name, variant), registry)
                else:
                    registry.kind(kind).get(name)
            except Unsupported:  # a machine that is not this one, which is nothing to mend
                continue
            except TilbenchError as error:
                broken.append({"what": f"{described.noun} {name}", "why": str(error)})
    return broken


def _packages() -> dict[str, Any]:
    """Return the version of torch and of each optional package, or the extra that brings it."""
    found = {"torch": version("torch")}
    for module, extra in _OPTIONAL.items():
        try:
            found[module] = version(module.replace("_", "-"))
        except PackageNotFoundError:
            found[module] = f"not installed; pip install 'tilbench[{extra}]'"
    return found
