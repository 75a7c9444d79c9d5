"""`tilbench branch`: a stable checkpoint → a run that only decays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tilbench.cli.app import App, console, data_option, json_option, print_json, stopping
from tilbench.ranks import rank

if TYPE_CHECKING:
    from tilbench.training.branch import Tail

__all__ = ["branch"]


@click.command()
@click.argument("run", metavar="RUN@STEP")
@click.option("--decay", type=click.IntRange(min=1), required=True, metavar="N", help="Steps that the decay takes.")
@click.option("--to", type=float, required=True, metavar="LR", help="Learning rate at the last step.")
@click.option(
    "--tail",
    type=click.Choice(["linear", "cosine", "sqrt"]),
    default="linear",
    show_default=True,
    help="How the learning rate falls; sqrt is 1 - √ of the share that is done.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the new run [default: RUN-STEP-decay-N].")
@click.option("--hardware", default="", help="Hardware profile to run on [default: the spec's].")
@data_option
@json_option
@click.pass_obj
def branch(
    app: App,
    run: str,
    decay: int,
    to: float,
    tail: Tail,
    out: Path | None,
    hardware: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Decay from checkpoint STEP of RUN: its weights, optimizer state and place in the data go on.

    RUN stays as it is. The same command goes on with a branch that was stopped.

    \b
    Example:
      tilbench branch runs/a@8000 --decay 600 --to 2e-5 --out runs/a-decayed
    """
    from tilbench.config.references import split_step
    from tilbench.training.branch import resolve_branch, share_tokens
    from tilbench.training.fit import train

    registry = app.host.registry
    training = resolve_branch(run, registry, data_dir, decay=decay, to=to, tail=tail, hardware=hardware)
    start = training.start
    assert start is not None
    name, step = split_step(start.reference)
    assert step is not None
    folder = out or Path(f"{name}-{step}-decay-{decay}")
    if not rank():
        share_tokens(Path(name), folder)
    with stopping():
        checkpoint = train(training, registry, folder)
    if rank():  # the first process of torchrun speaks for all
        return
    summary = {
        "model": training.reference,
        "from": start.reference,
        "lineage": list(start.lineage),
        "steps": [step + 1, training.recipe.steps],
        "learning_rate": [training.recipe.optimizer.learning_rate, to],
        "checkpoint": str(checkpoint),
    }
    if as_json:
        print_json(summary)
        return
    for field, value in summary.items():
        console().print(f"{field}: {value}", markup=False)
