"""`tilbench import`: published weights → a checkpoint of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tilbench.cli.app import App, console, json_option, print_json, set_option
from tilbench.errors import ConfigError
from tilbench.paths import refuse_existing

if TYPE_CHECKING:
    from tilbench_import.plan import Import

__all__ = ["import_"]


@click.command("import")
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the checkpoint.")
@click.option("--model", default="", metavar="SPEC", help="What a file of weights alone is of: name or name:variant.")
@click.option("--tokenizer", default="", metavar="REF", help="Its tokenizer [default: the one beside it].")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="THEIRS=ROLE",
    help="What a tensor is, such as 'layers.*.w1=gate' or 'h.*.qkv=q,k,v'; can be repeated.",
)
@click.option(
    "--rotary",
    type=click.Choice(["half", "interleaved"]),
    help="Rows of a head that rotary positions turn together: i and i + n/2, or 2i and 2i + 1.",
)
@click.option("--transposed/--not-transposed", default=None, help="Matrices are [in, out], as in GPT-2's Conv1D.")
@click.option("--prefix", type=click.Choice(["bos", "eos", "none"]), help="Token before every text.")
@click.option("--step", type=click.IntRange(min=0), help="Training step [default: as the file's name has it, or 0].")
@click.option(
    "--text",
    type=click.Path(path_type=Path),
    help="File of text: which rotary convention predicts it, and whether the model does.",
)
@click.option("--dry-run", is_flag=True, help="Show which tensor is taken for what. Writes nothing.")
@set_option
@json_option
@click.pass_obj
def import_(
    app: App,
    source: str,
    out: Path | None,
    model: str,
    tokenizer: str,
    mapping: Sequence[str],
    rotary: str | None,
    transposed: bool | None,
    prefix: str | None,
    step: int | None,
    text: Path | None,
    dry_run: bool,
    overrides: Sequence[str],
    as_json: bool,
) -> None:
    """Turn SOURCE into a checkpoint: a Transformers folder, hf:org/name@revision, or a .pt or .safetensors file.

    The tensors of a file may have any names. They are told apart by name and by shape, and where both leave a choice,
    the import is refused with what is undecided.

    \b
    Example:
      tilbench import hf:org/name --out runs/name
      tilbench import model.pt --model auto-g-nano-1b --tokenizer r50k_base.tiktoken --out runs/nano
    """
    if out is None and not dry_run:
        raise ConfigError("name the folder of the checkpoint with --out, or look first with --dry-run")
    if out is not None and not dry_run:
        refuse_existing(out)
    from tilbench_import.check import loss_on, try_rotary
    from tilbench_import.match import Options
    from tilbench_import.plan import Asked, write_import
    from tilbench_import.state import parse_roles

    options = Options(dict(map(parse_roles, mapping)), None if rotary is None else rotary == "interleaved", transposed)
    asked = Asked(model, tuple(overrides), tokenizer, prefix or "", step, options)
    tried = try_rotary(source, app.host.registry, asked, text)
    plan = tried.plan
    said = _described(plan)
    said["notes"] += [tried.note] if tried.note else []
    if out is not None and not dry_run:
        said["checkpoint"] = str(write_import(plan, out))
        if text is not None:
            said["loss"], said["chance"] = loss_on(out, text, app.host.registry)
    if as_json:
        print_json(said)
    else:
        _print(said)
    if tried.warning:
        click.echo(f"warning: {tried.warning}", err=True)
    if said.get("loss", 0.0) > said.get("chance", 0.0):
        click.echo(
            f"warning: {said['loss']:.2f} nats a token on {text}, guessing {said['chance']:.2f}: a weight is taken "
            "for another, or the tokenizer is not the model's",
            err=True,
        )


def _described(plan: Import) -> dict[str, Any]:
    return {
        "model": plan.info.model,
        "architecture": plan.info.architecture.name,
        "parameters": plan.info.parameters,
        "step": plan.info.step,
        "tokenizer": plan.info.tokenizer,
        "prefix": {"id": plan.info.prefix, "contexts": plan.info.prefix_contexts},
        "map": [asdict(row) for row in plan.rows],
        "set_aside": list(plan.set_aside),
        "notes": list(plan.notes),
    }


def _print(said: dict[str, Any]) -> None:
    from rich.table import Table

    out = console()
    if said["map"]:  # there is none for names that need none, of which a note tells
        table = Table(title="theirs → ours; * is the layer, # the head", title_justify="left")
        for column in ("theirs", "ours", "shape", "by"):
            table.add_column(column)
        for row in said["map"]:
            table.add_row(row["theirs"], row["ours"], "×".join(map(str, row["shape"])), row["by"])
        out.print(table)
    for note in said["notes"]:
        out.print(f"taken: {note}")
    if said["set_aside"]:
        out.print(f"no weights, left out: {', '.join(said['set_aside'])}")
    out.print(f"{said['model']} ({said['architecture']}): {said['parameters']:,} parameters, step {said['step']:,}")
    where = "" if said["prefix"]["contexts"] else ", before whole documents only"
    prefix = "none" if said["prefix"]["id"] is None else f"id {said['prefix']['id']}{where}"
    out.print(f"tokenizer: {said['tokenizer']}; before a text: {prefix}")
    if "loss" in said:
        out.print(f"loss: {said['loss']:.4f} nats a token (guessing: {said['chance']:.4f})")
    out.print(f"checkpoint: {said['checkpoint']}" if "checkpoint" in said else "nothing was written")
