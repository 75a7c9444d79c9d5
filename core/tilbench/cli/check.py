"""`tilbench check`: the conformance checks of anything registered, without pytest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tilbench.cli.app import App, console, data_option, json_option, print_json
from tilbench.errors import ConfigError, TilbenchError, UnknownName
from tilbench.registry import KINDS

if TYPE_CHECKING:
    from tilbench.registry import Registry
    from tilbench.testing.base import Outcome

__all__ = ["check"]

_MARKS = {"pass": ("✓", "green"), "fail": ("✗", "bold red"), "n/a": ("–", "dim")}


@click.command()
@click.argument("name", required=False)
@click.option("--kind", help="Which kind of thing, where one name stands for several.")
@click.option("--all", "everything", is_flag=True, help="Check everything registered, or all of one --kind.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="What the checks are to use, such as config.hidden_size=32 or reference=DIR; can be repeated.",
)
@data_option
@json_option
@click.pass_obj
def check(
    app: App,
    name: str | None,
    kind: str | None,
    everything: bool,
    overrides: Sequence[str],
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Run the conformance checks of NAME: an architecture, a tokenizer, a metric, a language …

    Ends with status 1 where a check fails. A check that says nothing about NAME is shown as "–".

    \b
    Example:
      tilbench check til-mini-1b
      tilbench check llama --set config.hidden_size=64
      tilbench check --all
    """
    registry = app.host.registry
    if kind is not None and kind not in KINDS:
        raise UnknownName("kind", kind, KINDS)
    if everything == (name is not None):
        raise ConfigError("name one thing to check, or pass --all")
    if everything and overrides:
        raise ConfigError("--set is for one thing: name it in place of --all")
    if name is not None:
        subjects = [(_find(registry, name, kind), name)]
    else:
        subjects = [(each, one) for each in ([kind] if kind else KINDS) for one in _names(registry, each)]
    _few_threads()
    found: list[dict[str, str]] = []
    for each, one in subjects:
        outcomes = list(_outcomes(registry, each, one, data_dir, _settings(overrides), strict=not everything))
        found += [{"kind": each, "name": one, **asdict(outcome)} for outcome in outcomes]
        if not as_json:
            _show(f"{KINDS[each].noun} {one}", outcomes, brief=everything)
    failed = sum(row["status"] == "fail" for row in found)
    if as_json:
        print_json(found)
    else:
        counts = {status: sum(row["status"] == status for row in found) for status in _MARKS}
        click.echo(f"{counts['pass']} passed, {counts['fail']} failed, {counts['n/a']} not applicable")
    return 1 if failed else 0


def _find(registry: Registry, name: str, kind: str | None) -> str:
    """Return the kind that holds `name`. Raises UnknownName, or TilbenchError where several do."""
    known = {each: _names(registry, each) for each in ([kind] if kind else KINDS)}
    holders = [each for each, names in known.items() if name in names]
    if not holders:
        everything = {one for names in known.values() for one in names}
        raise UnknownName(KINDS[kind].noun if kind else "name", name, everything, "see 'tilbench list'")
    if len(holders) > 1:
        raise TilbenchError(f"{name!r} is in {' and '.join(holders)}; choose one with --kind")
    return holders[0]


def _names(registry: Registry, kind: str) -> list[str]:
    if kind == "suites":
        from tilbench.resolve.suites import suite_names

        return suite_names(registry)
    return registry.kind(kind).names()


def _outcomes(
    registry: Registry, kind: str, name: str, data_dir: Path | None, settings: Mapping[str, Any], *, strict: bool
) -> Iterator[Outcome]:
    """Yield what each check found. strict: a thing that wants a setting first is an error, not passed over."""
    from tilbench.errors import MissingDependency
    from tilbench.testing.base import NotApplicable, Outcome
    from tilbench.testing.registered import conformance

    try:
        yield from conformance(kind, name, registry, data_dir=data_dir, settings=settings).run()
    except (NotApplicable, MissingDependency) as error:
        yield Outcome("subject", "n/a", str(error))
    except ConfigError as error:
        if strict:
            raise
        yield Outcome("subject", "n/a", str(error))
    except TilbenchError as error:
        yield Outcome("subject", "fail", str(error))


def _settings(overrides: Sequence[str]) -> Mapping[str, Any]:
    from tilbench.config.yaml import apply_overrides

    settings: Mapping[str, Any] = apply_overrides({}, overrides)
    return settings


def _show(title: str, outcomes: Sequence[Outcome], *, brief: bool) -> None:
    """Print what was found; brief: of a subject without faults, one line."""
    status = next((status for status in ("fail", "pass") if any(o.status == status for o in outcomes)), "n/a")
    mark, style = _MARKS[status]
    out = console()
    out.print(f"{mark} {title}", style=style, soft_wrap=True)
    for outcome in outcomes:
        if brief and outcome.status != "fail" and outcome.check != "subject":
            continue
        mark, style = _MARKS[outcome.status]
        reason = f": {outcome.reason}" if outcome.reason else ""
        out.print(f"  {mark} {outcome.check.replace('_', ' ')}{reason}", style=style, soft_wrap=True)


def _few_threads() -> None:
    """Keep torch to one thread: what is computed here is so small that more of them only wait for each other."""
    import torch

    torch.set_num_threads(1)
