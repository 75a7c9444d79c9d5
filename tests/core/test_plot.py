"""Training logs as curves and pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilbench.errors import DataError, MissingDependency
from tilbench.training.curves import draw_curves
from tilbench.training.log import read_curves, read_lines

FIVE = {"loss", "learning-rate", "gradient-norm", "throughput", "validation-bpb"}


def write_run(run: Path, steps: int = 150, *, validated: bool = True) -> Path:
    """Write the log of a run whose loss falls from 6 by 0.01 a step."""
    run.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        timing = {"tokens_per_second": 5000.0 + step % 7}
        norm = None if step == 3 else 1.0 + 1 / step
        lines.append({"step": step, "loss": 6 - step / 100, "lr": 1e-3 / step, "grad_norm": norm, "timing": timing})
        if validated and step % 50 == 0:
            lines.append(
                {"step": step, "validation": {"тіл": {"bpb": 2 - step / 1000, "loss": 3.0}, "sft": {"loss": 1}}}
            )
            lines.append({"step": step, "samples": [{"prompt": "a", "text": "b\u2028c"}]})
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (run / "log.jsonl").write_text(text, encoding="utf-8")
    return run


def test_curves_have_every_step(tmp_path: Path) -> None:
    curves = read_curves(write_run(tmp_path / "a"))
    assert curves.loss.steps == list(range(1, 151))
    assert curves.loss.values[99] == pytest.approx(5.0)
    assert curves.lr.values[:2] == [1e-3, 5e-4]
    assert curves.grad_norm.steps[:4] == [1, 2, 4, 5]  # a skipped step has no norm
    assert curves.tokens_per_second.values[6] == 5000.0
    assert list(curves.bpb) == ["тіл"]
    assert (curves.bpb["тіл"].steps, curves.bpb["тіл"].values) == ([50, 100, 150], [1.95, 1.9, 1.85])


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", 5)
    with (run / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    assert [line["step"] for line in read_lines(run / "log.jsonl")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("damage", ["no json\n", '{"loss": 1}\n', "[]\n", '{"step": 6, "loss": 1}\n'])
def test_a_damaged_log_is_one_line(tmp_path: Path, damage: str) -> None:
    run = write_run(tmp_path / "a", 5)
    with (run / "log.jsonl").open("a") as file:
        file.write(damage)
    with pytest.raises(DataError, match=r"log\.jsonl.*(line 6|step 6)") as error:
        read_curves(run)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", ["png", "svg"])
def test_plot_writes_the_curves(tmp_path: Path, tilbench: Callable[..., Any], form: str) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", 60)
    done = tilbench("plot", a, b, "--out", tmp_path / "plots", "--format", form)
    assert done.status == 0, done.err
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {f"{name}.{form}" for name in FIVE}
    assert sorted(done.out.split()) == sorted(str(path) for path in (tmp_path / "plots").iterdir())
    starts = {"png": b"\x89PNG", "svg": b"<?xml"}
    assert all(path.read_bytes().startswith(starts[form]) for path in (tmp_path / "plots").iterdir())


def test_pictures_go_into_the_run_and_say_only_what_is_there(tmp_path: Path, tilbench: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "a", validated=False)
    drawn = json.loads(tilbench("plot", run, "--json").out)
    assert drawn == [
        str(run / "plots" / f"{name}.png") for name in ("loss", "learning-rate", "gradient-norm", "throughput")
    ]


def test_svg_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    curves = {"a": read_curves(write_run(tmp_path / "a"))}
    one, two = (draw_curves(curves, tmp_path / name, "svg") for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert b"<dc:date>" not in one[0].read_bytes()


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = {"a": read_curves(write_run(tmp_path / "a"))}
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependency, match=r"tilbench\[plots\]"):
        draw_curves(curves, tmp_path / "plots", "png")
    assert not (tmp_path / "plots").exists()


def test_what_cannot_be_plotted_is_one_line(tmp_path: Path, tilbench: Callable[..., Any]) -> None:
    (tmp_path / "empty").mkdir()
    begun = write_run(tmp_path / "begun", 0)
    file = tmp_path / "file"
    file.write_text("")
    run = write_run(tmp_path / "a", 5)
    for arguments, said in (
        ([tmp_path / "nowhere"], "is no folder of a run"),
        ([tmp_path / "empty"], "has no log of a training"),
        ([begun], "has no step yet"),
        ([run, "--out", file], "is a file"),
    ):
        done = tilbench("plot", *arguments)
        assert done.status == 2
        assert said in done.err
        assert done.err.count("\n") == 1
