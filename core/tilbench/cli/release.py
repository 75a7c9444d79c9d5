"""`tilbench release`: a checkpoint → a folder that can be published."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tilbench.cli.app import App, console, data_option, dtype_option, json_option, names, print_json
from tilbench.paths import refuse_existing

if TYPE_CHECKING:
    from tilbench.config.model import DType

__all__ = ["release"]


@click.command()
@click.argument("run")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write, which must not exist.")
@click.option("--suites", default="", metavar="A,B", help="Suites to score it on [default: those of its spec].")
@click.option("--against", metavar="MODEL", help="Compare with this model [default: RUN's first checkpoint].")
@click.option("--prompts", default="", metavar="A,B", help="Prompts to tune decoding on [default: in its languages].")
@click.option("--sweep", "file", type=click.Path(path_type=Path), help="YAML of the decoding sweep.")
@click.option(
    "--records", type=click.Path(path_type=Path), default="records", show_default=True, help="Folder of records."
)
@click.option("--limit", type=click.IntRange(min=2), help="Score a seeded sample of this many rows a task.")
@dtype_option("Of the written weights.")
@click.option("--allow-code", is_flag=True, help="Write Python beside the weights where Transformers has no class.")
@click.option("--dry-run", is_flag=True, help="Show what would be scored, compared and swept. Computes nothing.")
@data_option
@json_option
@click.pass_obj
def release(
    app: App,
    run: str,
    out: Path,
    suites: str,
    against: str | None,
    prompts: str,
    file: Path | None,
    records: Path,
    limit: int | None,
    dtype: DType,
    allow_code: bool,
    dry_run: bool,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Score RUN (or RUN@STEP), compare it, tune its decoding, and write all that a release needs.

    The folder has weights for Transformers and in the native form, config and tokenizer, telemetry, evaluation,
    comparison, decoding report, records that others can verify, a model card and digests. What is recorded already is
    not scored again.

    \b
    Example:
      tilbench release runs/a --out releases/a
    """
    if not dry_run:
        refuse_existing(out)
    from tilbench.cli.progress import RunProgress
    from tilbench.config.sweep import Sweep
    from tilbench.config.yaml import load
    from tilbench.publish.bundle import ReleaseConfig, plan_release
    from tilbench.publish.bundle import release as make

    registry = app.host.registry
    config = ReleaseConfig(
        reference=run,
        records=records,
        data_dir=data_dir,
        suites=names(suites),
        against=against,
        prompts=names(prompts),
        sweep=load(file, Sweep) if file else None,
        limit=limit,
        dtype=dtype,
        allow_code=allow_code,
        command=shlex.join(["tilbench", *sys.argv[1:]]),
    )
    plan = plan_release(config, registry)
    summary = {
        "model": plan.reference,
        "suites": [each.suite.name for each in plan.runs],
        "against": plan.against or "nothing",
        "decoding_prompts": plan.sweep.tuning.count + plan.sweep.holdout.count if plan.sweep else 0,
        "out": str(out),
    }
    if not dry_run:
        with RunProgress(sum(len(each.sources) for each in plan.runs) + 1) as progress:
            summary["files"] = sorted(path.name for path in make(plan, registry, out, progress.update).iterdir())
    if as_json:
        print_json(summary)
        return
    for name, value in summary.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        console().print(f"{name.replace('_', ' ')}: {shown}")
