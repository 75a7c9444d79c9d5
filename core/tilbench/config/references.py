"""What a model reference can look like: `spec`, `spec:variant`, `spec:variant@step`, a folder, `hf:org/name@rev`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tilbench.errors import ConfigError

__all__ = ["SpecReference", "is_path", "parse_spec", "split_folder", "split_hub", "split_step", "without_step"]


@dataclass(frozen=True, slots=True)
class SpecReference:
    """`name[:variant][@step]`, as written on the command line or in a suite."""

    name: str
    variant: str = ""
    step: int | None = None

    @property
    def label(self) -> str:
        """`name` or `name:variant`."""
        return f"{self.name}:{self.variant}" if self.variant else self.name


def is_path(reference: str) -> bool:
    """Say whether a reference means a file or folder rather than a registered name."""
    return reference.startswith(("/", "./", "../", "~")) or "/" in reference or Path(reference).exists()


def without_step(reference: str) -> str:
    """Return the reference up to its last `@`; all of it where it has none."""
    return reference.rpartition("@")[0] if "@" in reference else reference


def split_step(reference: str) -> tuple[str, int | None]:
    """Split `what@step`; no step gives None. Raises ConfigError where the step is no number."""
    what = without_step(reference)
    if what == reference:
        return reference, None
    step = reference[len(what) + 1 :]
    if not step.isdecimal():
        raise ConfigError(f"model {reference!r}: the step after '@' is {step!r}, not a number")
    return what, int(step)


def parse_spec(reference: str) -> SpecReference:
    """Read `name[:variant][@step]`. Raises ConfigError for anything else."""
    what, step = split_step(reference)
    name, _, variant = what.partition(":")
    if not name or ":" in variant:
        raise ConfigError(f"model {reference!r}: write name, name:variant or name:variant@step")
    return SpecReference(name, variant, step)


def split_hub(reference: str) -> tuple[str, str | None] | None:
    """Return repository and revision of `hf:org/name[@revision]`; None for a reference of another form."""
    if not reference.startswith("hf:"):
        return None
    name, _, revision = reference.removeprefix("hf:").partition("@")
    return name, revision or None


def split_folder(reference: str) -> tuple[Path, int | None]:
    """Split `FOLDER@STEP`; a reference that is there as it is written has no step.

    Raises ConfigError where the step is no number, and for a model on the Hub, which is no folder.
    """
    if split_hub(reference):
        raise ConfigError(
            f"{reference} is on the Hub, and a run or checkpoint of ours is needed here; import it first: "
            f"'tilbench import {reference} --out FOLDER'"
        )
    folder = Path(reference).expanduser()
    if folder.exists():
        return folder, None
    name, step = split_step(reference)
    return Path(name).expanduser(), step
