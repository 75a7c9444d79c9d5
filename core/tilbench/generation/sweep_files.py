"""A decoding sweep from its plan to its files; killed, it goes on from the answers in its journal."""

from __future__ import annotations

from pathlib import Path

from tilbench.checkpoints.folder import is_checkpoint, read_info
from tilbench.evaluation.execute import Progress
from tilbench.generation.sweep import Outcome, SweepPlan, run_sweep
from tilbench.generation.sweep_report import write_sweep
from tilbench.kinds.language_model import OpenOptions
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.resolve.models import ModelSource
from tilbench.scoring.journal import Journal

__all__ = ["sweep_into"]


def sweep_into(
    folder: Path, plan: SweepPlan, source: ModelSource, options: OpenOptions, journal: Path, progress: Progress
) -> Outcome:
    """Try what the plan says and write all files of it into an existing folder. journal: keeps answers as they come."""
    with Journal(journal) as kept:
        outcome = run_sweep(plan, source, options, kept, progress)
    write_sweep(folder, plan, outcome, _special(source.reference, options))
    return outcome


def _special(reference: str, options: OpenOptions) -> SpecialTokens:
    special: SpecialTokens = options.load_tokenizer(reference).special
    return special.begun_by(read_info(Path(reference)).prefix) if is_checkpoint(Path(reference)) else special
