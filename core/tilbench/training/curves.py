"""Pictures of training runs: loss, learning rate, gradient norm, throughput, validation bits per byte over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilbench.errors import MissingDependency
from tilbench.paths import atomic_path
from tilbench.training.log import Curve, TrainingCurves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_curves"]

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "tilbench",  # names inside the file come from what is drawn, not from chance
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by colour-blind readers (Okabe & Ito, 2008)."""
_DASHES = ("-", "--", ":", "-.")
_LONG = 100
"""Steps from which on a noisy curve is drawn faint, under its running mean; a shorter one shows its points."""


@dataclass(frozen=True, slots=True)
class _Line:
    label: str
    curve: Curve
    colour: str
    dash: str = "-"


def draw_curves(runs: Mapping[str, TrainingCurves], folder: Path, form: str) -> list[Path]:
    """Draw the runs, name → curves, over each other; return the files written into `folder`.

    form: png or svg. A curve that no run has is left out. The same runs give the same bytes with one version of
    matplotlib. Raises MissingDependency without matplotlib.
    """
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise MissingDependency("matplotlib", "plots", "drawing training curves") from None
    drawn = []
    with matplotlib.rc_context(_STYLE):
        for name, title, unit, noisy, lines in _pictures(runs):
            if any(line.curve.steps for line in lines):
                path = folder / f"{name}.{form}"
                _draw(path, title, unit, noisy, lines, form)
                drawn.append(path)
    return drawn


def _pictures(runs: Mapping[str, TrainingCurves]) -> list[tuple[str, str, str, bool, list[_Line]]]:
    """Return file name, title, unit, whether it is noisy, and lines of each picture."""
    colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(runs)}

    def lines(field: str) -> list[_Line]:
        return [_Line(name, getattr(curves, field), colours[name]) for name, curves in runs.items()]

    sources = sorted({source for curves in runs.values() for source in curves.bpb})
    # One run: a colour a source. Several: a colour a run, as in the other pictures, and a dash a source.
    validation = [
        _Line(
            source if len(runs) == 1 else f"{name}: {source}",
            curves.bpb[source],
            _COLOURS[place % len(_COLOURS)] if len(runs) == 1 else colours[name],
            _DASHES[0] if len(runs) == 1 else _DASHES[place % len(_DASHES)],
        )
        for name, curves in runs.items()
        for place, source in enumerate(sources)
        if source in curves.bpb
    ]
    return [
        ("loss", "Training loss", "nats per token", True, lines("loss")),
        ("learning-rate", "Learning rate", "learning rate", False, lines("lr")),
        ("gradient-norm", "Gradient norm before clipping", "L2 norm", True, lines("grad_norm")),
        ("throughput", "Throughput", "tokens per second", True, lines("tokens_per_second")),
        ("validation-bpb", "Validation on held-out text", "bits per UTF-8 byte", False, validation),
    ]


def _draw(path: Path, title: str, unit: str, noisy: bool, lines: Sequence[_Line], form: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for line in lines:
        _plot(axes, line, noisy)
    axes.set(title=title, xlabel="step", ylabel=unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(_thousands)
    if noisy and all(value >= 1000 for line in lines for value in line.curve.values):
        axes.yaxis.set_major_formatter(_thousands)
    else:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useMathText=True)
    if len(lines) > 1 or len({line.label for line in lines}) > 1:
        axes.legend(frameon=False)
    else:
        axes.set_title(lines[0].label, loc="right", fontsize=9, color="#555555")
    # No date in the file: the same log gives the same bytes.
    metadata: dict[str, Any] = {"Date": None} if form == "svg" else {}
    with atomic_path(path) as aside:
        figure.savefig(aside, format=form, metadata=metadata)


def _plot(axes: Axes, line: _Line, noisy: bool) -> None:
    """Draw a line; one that is noisy and long is drawn faint, under its running mean."""
    steps, values = line.curve.steps, line.curve.values
    style: dict[str, Any] = {"color": line.colour, "linestyle": line.dash}
    if noisy and len(values) > _LONG:
        axes.plot(steps, values, alpha=0.25, linewidth=0.8, **style)
        axes.plot(steps, _smooth(values), linewidth=1.6, label=line.label, **style)
    else:
        marker = "o" if len(values) <= _LONG else ""
        axes.plot(steps, values, linewidth=1.6, marker=marker, markersize=3, label=line.label, **style)


def _smooth(values: Sequence[float]) -> list[float]:
    """Return running means around each value, over a fortieth of the curve; at its ends over as much as there is."""
    sums = list(accumulate(values, initial=0.0))
    widest, last = max(2, len(values) // 80), len(values) - 1
    means = []
    for place in range(len(values)):
        half = min(widest, place, last - place)
        means.append((sums[place + half + 1] - sums[place - half]) / (2 * half + 1))
    return means


def _thousands(value: float, _: float | None = None) -> str:
    return f"{value:,.0f}"
