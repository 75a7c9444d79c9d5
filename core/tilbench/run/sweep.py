"""A decoding sweep from its plan to its folder; killed, it goes on where it was."""

from __future__ import annotations

from pathlib import Path

from tilbench.errors import DataError
from tilbench.kinds.language_model import OpenOptions
from tilbench.paths import atomic_folder
from tilbench.run.decode import Outcome, SweepPlan, run_sweep
from tilbench.run.decode_files import write_sweep
from tilbench.run.execute import Progress
from tilbench.run.models import ModelSource
from tilbench.scoring.journal import Journal

__all__ = ["check_empty", "sweep_into"]


def check_empty(out: Path) -> None:
    """Raise DataError where `out` is there and is no empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is not an empty folder; name another with --out")


def sweep_into(out: Path, plan: SweepPlan, source: ModelSource, options: OpenOptions, progress: Progress) -> Outcome:
    """Try what the plan says and write all files of it into `out`. Answers are kept beside it until it is done."""
    kept = out.with_name(f"{out.name}.journal.sqlite")
    with Journal(kept) as journal:
        outcome = run_sweep(plan, source, options, journal, progress)
    special = options.load_tokenizer(source.reference).special
    with atomic_folder(out) as aside:
        write_sweep(aside, plan, outcome, special)
    kept.unlink(missing_ok=True)
    return outcome
