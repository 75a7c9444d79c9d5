"""The log of a run as TensorBoard event files."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tilbench.errors import MissingDependency

__all__ = ["TENSORBOARD", "Board"]

TENSORBOARD = "tensorboard"


class Board:
    """Writes every line of a log to `folder` (`tilbench_trainers.reporting.telemetry.Listener`).

    What an earlier sitting wrote there is replaced by the lines that the log has kept, so that no step stands there
    twice and none that was undone stands there at all. Raises MissingDependency without tensorboard.
    """

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise MissingDependency("tensorboard", "plots", "recipe.tensorboard")
        self._folder = folder
        self._writer: Any = None

    def __enter__(self) -> Board:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(self._folder, ignore_errors=True)
        self._writer = SummaryWriter(str(self._folder))
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def note(self, line: Mapping[str, Any], live: bool) -> None:
        """Write the numbers and texts of a line."""
        for name, value in _numbers(line):
            self._writer.add_scalar(name, value, line["step"])
        for place, sample in enumerate(line.get("samples", ())):
            self._writer.add_text(f"samples/{place + 1}", f"**{sample['prompt']}** {sample['text']}", line["step"])


def _numbers(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    timing = line.get("timing", {})
    flat = {
        "train/loss": line.get("loss"),
        "train/lr": line.get("lr"),
        "train/grad_norm": line.get("grad_norm"),
        "speed/tokens_per_second": timing.get("tokens_per_second"),
        "speed/mfu": timing.get("mfu"),
    }
    for group in ("validation", "evaluation"):
        for name, values in line.get(group, {}).items():
            flat |= {f"{group}/{name}/{value}": number for value, number in values.items()}
    for place, probe in enumerate(line.get("probes", ())):
        flat |= {f"probes/{place + 1}/{value}": probe.get(value) for value in ("rank", "probability")}
    return ((name, number) for name, number in flat.items() if number is not None)
