"""`tilbench decode`: which decoding settings suit a model, tuned on some prompts and confirmed on others."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tilbench.cli.app import App, console, data_option, json_option, model_options, names, print_json, set_option

if TYPE_CHECKING:
    from tilbench.generation.sweep import Outcome, SweepPlan
    from tilbench.resolve.model_options import ModelOptions

__all__ = ["decode"]


@click.command()
@click.argument("model")
@click.option("--prompts", required=True, metavar="A,B", help="Datasets of prompts to tune on.")
@click.option("--holdout", default="", metavar="A,B", help="Datasets to confirm on (default: half of the prompts).")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the results.")
@click.option("--sweep", "file", type=click.Path(path_type=Path), help="YAML: presets, grid, objective.")
@click.option("--limit", type=click.IntRange(min=2), help="Use a seeded sample of this many prompts a dataset.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split and of sampling.")
@click.option("--runs", type=click.Path(path_type=Path), default="runs", show_default=True, help="Folder of trainings.")
@model_options
@click.option("--dry-run", is_flag=True, help="Show presets, prompts and texts to write. Computes nothing.")
@set_option
@data_option
@json_option
@click.pass_obj
def decode(
    app: App,
    model: str,
    prompts: str,
    holdout: str,
    out: Path,
    file: Path | None,
    limit: int | None,
    seed: int,
    runs: Path,
    options: ModelOptions,
    dry_run: bool,
    overrides: tuple[str, ...],
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Find decoding settings for MODEL, and write them as Transformers' generation_config.json.

    Every preset continues the tuning prompts; the best and the default continue the hold-out prompts. The same
    command resumes a killed sweep.

    \b
    Example:
      tilbench decode runs/a --prompts prompts/kk,prompts/tr --out decoding/a
    """
    from tilbench.cli.progress import RunProgress
    from tilbench.config.sweep import Sweep
    from tilbench.config.yaml import apply_overrides, load, validate
    from tilbench.generation.sweep import plan_sweep, sweep_suite
    from tilbench.generation.sweep_report import summary, sweep_to
    from tilbench.paths import refuse_filled
    from tilbench.resolve.datasets import ReferenceText
    from tilbench.resolve.model_options import open_options
    from tilbench.resolve.models import find_model

    refuse_filled(out)
    registry = app.host.registry
    sweep = load(file, Sweep, overrides) if file else validate(apply_overrides({}, overrides), Sweep, "--set")
    tuning = names(prompts)
    plan = plan_sweep(sweep, registry, tuning, names(holdout), data_dir=data_dir, limit=limit, seed=seed)
    source = find_model(model, registry, runs)
    if dry_run:
        _describe(plan, source.name, as_json)
        return
    suite = sweep_suite(sweep, plan.presets[sweep.default], tuning, seed)
    opening = open_options(options, registry, ReferenceText(suite.reference_text, registry, data_dir))
    with RunProgress(1) as progress:
        outcome = sweep_to(out, plan, source, opening, registry, progress.update)
    if as_json:
        print_json(summary(plan, outcome))
    else:
        _report(outcome, out)


def _describe(plan: SweepPlan, model: str, as_json: bool) -> None:
    from tilbench.config.decoding import Sampling

    texts = len(plan.presets) * plan.tuning.count + 2 * plan.holdout.count
    if as_json:
        print_json(
            {
                "model": model,
                "presets": {name: asdict(preset) for name, preset in plan.presets.items()},
                "default": plan.sweep.default,
                "objective": plan.sweep.objective,
                "tuning": plan.tuning.count,
                "holdout": plan.holdout.count,
                "texts": texts,
            }
        )
        return
    out = console()
    off = asdict(Sampling())
    for name, preset in plan.presets.items():
        set_here = ", ".join(f"{field}={value:g}" for field, value in asdict(preset).items() if value != off[field])
        out.print(f"{name}: {set_here or 'the likeliest token'}")
    out.print(
        f"{model}: {plan.tuning.count} tuning and {plan.holdout.count} hold-out prompts, at most {texts} texts; "
        "nothing was computed"
    )


def _report(outcome: Outcome, out: Path) -> None:
    from rich.table import Table

    table = Table(title=f"{outcome.card.name}: tuning prompts", title_justify="left")
    table.add_column("preset")
    table.add_column("objective ↑", justify="right")
    for result in outcome.tuning:
        table.add_row(result.preset, f"{result.objective:.3f}")
    printed = console()
    printed.print(table)
    for result in outcome.holdout:
        printed.print(f"hold-out prompts: {result.preset} {result.objective:.3f}")
    printed.print(f"{outcome.winner.preset}: {outcome.verdict}")
    printed.print(f"recommended: {outcome.recommended.preset}, in {out / 'generation_config.json'}")
