"""`tilbench train`: a model spec → a run folder with checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tilbench.cli.app import App, console, data_option, json_option, print_json, set_option, stopping
from tilbench.ranks import rank

__all__ = ["train"]


@click.command()
@click.argument("spec")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run [default: runs/SPEC].")
@click.option("--hardware", default="", help="Hardware profile to run on [default: the spec's].")
@click.option("--dry-run", is_flag=True, help="Show what would be trained. Computes and writes nothing.")
@click.option("--preview", is_flag=True, help="Show decoded samples, what is masked in them marked. Writes nothing.")
@set_option
@data_option
@json_option
@click.pass_obj
def train(
    app: App,
    spec: str,
    out: Path | None,
    hardware: str,
    dry_run: bool,
    preview: bool,
    overrides: Sequence[str],
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Train SPEC (name or name:variant). The same command goes on with a run that was stopped.

    The processes of torchrun share each step: gradients are summed, or kept in shards with recipe.parallel=fsdp.

    \b
    Example:
      tilbench train turkish-v1:tiny --set recipe.steps=60 --out runs/a
      torchrun --nproc-per-node 2 -m tilbench train turkish-v1:tiny --out runs/b
    """
    from tilbench.config.references import parse_spec
    from tilbench.resolve.models import run_folder
    from tilbench.training.fit import train as fit
    from tilbench.training.initial import base_origin, model_size
    from tilbench.training.resolve import resolve_training

    registry = app.host.registry
    training = resolve_training(spec, registry, data_dir, overrides, hardware)
    folder = out or run_folder(Path("runs"), parse_spec(spec).label)
    if preview:
        from tilbench.training.fit import preview as lines

        for line in lines(training, registry, folder):
            click.echo(line)
        return
    recipe = training.recipe
    architecture = registry.architectures.get(training.spec.architecture.name)
    summary = {
        "model": training.reference,
        "parameters": model_size(base_origin(training.spec, architecture, registry), architecture, training.config),
        "steps": recipe.steps,
        "tokens_per_step": recipe.tokens_per_step,
        "tokens": recipe.steps * recipe.tokens_per_step,
        "sources": {source.name: len(source.train) for source in training.sources},
        "hardware": training.hardware.name,
        "out": str(folder),
    }
    if dropped := {source.name: dict(source.dropped) for source in training.sources if source.dropped}:
        summary["dropped"] = dropped
    if not dry_run:
        with stopping():
            summary["checkpoint"] = str(fit(training, registry, folder))
    if rank():  # the first process of torchrun speaks for all
        return
    if as_json:
        print_json(summary)
        return
    for name, value in summary.items():
        console().print(f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}")
