"""What `tilbench show` prints of a model, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["print_model"]

Data = Mapping[str, Any]


def print_model(about: Data, console: Console) -> None:
    """Print the page of a model, from what `tilbench.resolve.describe_model` says of it."""
    _head(about, console)
    for table in (_budget(about), _cache(about), _timeline(about), _mix(about), _reported(about), _costs(about)):
        if table is not None and table.row_count:
            console.print()
            console.print(table)
    for note in about.get("notes") or ():
        console.print(f"· {note}", soft_wrap=True)
    if about.get("variants"):
        console.print(f"variants: {', '.join(about['variants'])}", soft_wrap=True)


_HEAD = {
    "summary": "summary",
    "document": "paper",
    "licence": "licence",
    "base": "base",
    "adapter": "adapter",
    "hardware": "hardware",
    "registered": "registered",
}
"""What stands first on the page: field → its label."""


def _head(about: Data, console: Console) -> None:
    console.print(f"{about['name']}: {about['title']}" if about.get("title") else about["name"], style="bold")
    for field, label in _HEAD.items():
        if about.get(field):
            console.print(f"{label}: {about[field]}", soft_wrap=True)
    if about.get("languages"):
        console.print(f"languages: {', '.join(about['languages'])}")
    architecture = about["architecture"]
    sizes = ", ".join(f"{name} {value}" for name, value in _leaves(architecture["config"]))
    console.print(f"architecture: {architecture['name']} ({sizes})", soft_wrap=True)
    if tokenizer := about.get("tokenizer"):
        options = ", ".join(f"{name} {value}" for name, value in tokenizer["options"].items())
        console.print(f"tokenizer: {' '.join(filter(None, [tokenizer['family'], tokenizer['reference'], options]))}")
    stated = about.get("stated_parameters")
    said = "" if stated in (None, about["parameters"]) else f" (the paper says {stated:,})"
    console.print(f"parameters: {about['parameters']:,}{said}")
    if generation := about.get("generation"):
        console.print("generation: " + ", ".join(f"{name} {value:g}" for name, value in generation.items()))
    for name, value in (about.get("checkpoint") or {}).items():
        if name == "tokenizer" and tokenizer:
            continue
        shown = f"{value:,}" if isinstance(value, int) else ", ".join(value) if isinstance(value, list) else value
        console.print(f"{name.replace('_', ' ')}: {'none' if shown in ('', None) else shown}", soft_wrap=True)


def _leaves(config: Data) -> Iterable[tuple[str, object]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        elif value is not None:
            yield name, value


def _table(title: str, *columns: str, left: int = 1) -> Table:
    """Return a table whose first `left` columns are texts and the others numbers."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < left else "right")
    return table


def _budget(about: Data) -> Table | None:
    if "budget" not in about:
        return None
    table = _table("where the parameters are", "component", "parameters", "share", "per layer")
    parts = about["budget"]
    for name, part in parts.items():
        if part["parameters"]:
            table.add_row(name, _number(part["parameters"]), _share(part["share"]), _number(part["per_layer"]))
        elif name == "output head":
            table.add_row(name, "0", "0%", "tied")
    table.add_section()
    layers = [part["per_layer"] for part in parts.values() if part["per_layer"]]
    total = sum(part["parameters"] for part in parts.values())
    table.add_row("total", _number(total), "100%", _number(sum(layers) or None))
    return table


def _cache(about: Data) -> Table | None:
    if not about.get("cache_bytes_per_token"):
        return None
    length = about["max_length"]
    table = _table("key-value cache", "precision", "bytes a token", f"MiB for {length:,} tokens")
    for precision, size in about["cache_bytes_per_token"].items():
        table.add_row(precision, _number(size), f"{size * length / 2**20:,.1f}")
    return table


def _timeline(about: Data) -> Table | None:
    stages = about.get("timeline") or ()
    columns = ("stage", "phase", "from step to step", "steps", "tokens", "learning rate", "tokens a parameter")
    table = _table("training", *columns, left=2)
    for stage in stages:
        name = stage["stage"] or about["name"]
        for phase in stage["phases"]:
            steps = f"{phase['first_step']:,}–{phase['last_step']:,}"
            falls = f" {phase['shape']}" if phase["phase"] == "decay" else ""
            rates = f"{phase['from']:.3g} → {phase['to']:.3g}" if phase["from"] != phase["to"] else f"{phase['to']:.3g}"
            table.add_row(
                name, f"{phase['phase']}{falls}", steps, _number(phase["steps"]), _large(phase["tokens"]), rates
            )
            name = ""
        step = f"{stage['tokens_per_step']:,} tokens a step"
        per_parameter = f"{stage['tokens_per_parameter']:,.3g}"
        steps, tokens = _number(stage["steps"]), _large(stage["tokens"])
        table.add_row("", f"all ({stage['trainer']})", step, steps, tokens, "", per_parameter)
        table.add_section()
    return table


def _mix(about: Data) -> Table | None:
    sources = about.get("data") or ()
    total = sum(source["weight"] for source in sources)
    table = _table("what it learns from", "dataset", "share", "tokens by the paper")
    for source in sources:
        table.add_row(source["dataset"], _share(source["weight"] / total), _number(source["tokens"]))
    return table


def _reported(about: Data) -> Table | None:
    given = about.get("reported") or ()
    order = {metric: place for place, metric in enumerate(dict.fromkeys(figure["metric"] for figure in given))}
    figures = sorted(given, key=lambda figure: order[figure["metric"]])
    table = _table("reported by the paper, not measured here", "metric", "on", "value", "unit", "note", left=2)
    table.columns[3].justify = table.columns[4].justify = "left"
    for metric, group in groupby(figures, key=lambda figure: figure["metric"]):
        name = metric
        for figure in group:
            spread = "" if figure["stderr"] is None else f" ± {figure['stderr']:g}"
            value = f"{figure['value']:,.12g}{spread}"
            doubt = f"in doubt: {figure['doubt']}" if figure["doubt"] else ""
            said = "; ".join(filter(None, (figure["note"], doubt)))
            step = "" if figure["step"] is None else f"step {figure['step']:,}"
            on = ", ".join(filter(None, (figure["model"], figure["on"], step)))
            table.add_row(name, on, value, figure["unit"], said)
            name = ""
    return table


def _costs(about: Data) -> Table | None:
    columns = (
        "part",
        "hours (reported)",
        "USD (reported)",
        "USD (derived: hours × price)",
        "tokens/s (reported)",
        "note",
    )
    table = _table(_price(about.get("cost") or ()), *columns)
    for each in about.get("cost") or ():
        hours, paid, derived = each["reported_hours"], each["reported_cost"], each["derived_cost"]
        table.add_row(each["on"], _plain(hours, ".4g"), _plain(paid, ",.2f"), _plain(derived, ",.2f"), "", "")
    for each in about.get("speed") or ():
        table.add_row(each["on"], "", "", "", _number(int(each["tokens_per_second"])), each["note"])
    return table


def _price(costs: Sequence[Data]) -> str:
    prices = {(each["price_per_hour"], each["hardware"]) for each in costs if each["price_per_hour"] is not None}
    said = "".join(f"; {price:g} USD an hour for {hardware}" for price, hardware in prices)
    return f"what training cost{said}"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _plain(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _share(value: float) -> str:
    return "<0.1%" if 0 < value < 0.0005 else f"{value:.1%}"


def _large(tokens: int) -> str:
    """Return a number of tokens with its unit: 47.0B, 524M, 1,024."""
    for size, unit in ((1e9, "B"), (1e6, "M")):
        if tokens >= size:
            return f"{tokens / size:,.3g}{unit}" if tokens < 100 * size else f"{tokens / size:,.0f}{unit}"
    return f"{tokens:,}"
