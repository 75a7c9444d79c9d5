"""Tiny trainings of the documents on real text learn, decay to something better, and are chosen among rightly."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tilbench.results.store import RecordStore

pytestmark = pytest.mark.long

Command = Callable[..., tuple[str, str]]

STEPS, EVERY, PEAK = 250, 50, 3e-3
DOMAINS: Mapping[str, Mapping[str, float]] = {
    "til-mini-1b": {"en": 0.25, "code": 0.21, "kk": 0.21, "math": 0.19, "ru": 0.14},
    "1gpu-small-en-it": {"en": 1, "it": 1},
    "turkish-v1": {"tr": 1},
    "auto-g-nano-1b": {"en": 0.65, "code": 0.35},
}
"""Each document's own text, with its share."""


@pytest.fixture(scope="session")
def excerpts(once: Callable[..., Path], data_dir: Path) -> Path:
    """Return a folder with the beginning of each domain's text: 400 KB to learn from, 16 KB held out."""

    def make(folder: Path) -> None:
        for domain in sorted({domain for own in DOMAINS.values() for domain in own}):
            for split, size in {"train": 400_000, "heldout": 16_000}.items():
                with gzip.open(data_dir / f"text/{domain}/{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
                    rows = [{**row, "text": row["text"][:4000]} for row in map(json.loads, lines)]
                sizes = itertools.accumulate(len(row["text"].encode()) for row in rows)
                kept = [row for row, so_far in zip(rows, sizes, strict=True) if so_far <= size]
                assert kept
                text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
                (folder / f"{domain}-{split}.jsonl").write_text(text, encoding="utf-8")

    return once("excerpts", make)


@pytest.fixture(scope="session")
def trained(once: Callable[..., Path], command: Command, excerpts: Path) -> Callable[[str], Path]:
    """Return a function that trains a document's tiny model, five checkpoints kept, and returns the run."""

    def train(model: str) -> Path:
        data = [
            {"dataset": f"{excerpts}/{domain}-train.jsonl", "heldout": f"{excerpts}/{domain}-heldout.jsonl"}
            | {"weight": weight}
            for domain, weight in DOMAINS[model].items()
        ]
        settings = {
            "data": json.dumps(data),
            "recipe.steps": STEPS,
            "recipe.checkpoint_every": EVERY,
            "recipe.keep_every": EVERY,
            "recipe.validate_every": EVERY,
            "recipe.workers": 1,
        }
        if model == "1gpu-small-en-it":
            settings["recipe.schedule.decay"] = 0.2  # stable up to step 200
        sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        folder = once(f"run-{model}", lambda out: command("train", f"{model}:tiny", *sets, "--out", out / "run"))
        return folder / "run"

    return train


def logged(run: Path, kind: str) -> dict[int, Any]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["step"]: line[kind] for line in lines if kind in line}


@pytest.mark.parametrize("model", DOMAINS)
def test_held_out_text_costs_less_at_every_checkpoint(trained: Callable[[str], Path], model: str) -> None:
    run = trained(model)
    found = logged(run, "validation")
    steps = list(range(EVERY, STEPS + 1, EVERY))
    assert list(found) == steps
    assert all((run / f"step-{step:08d}" / "model.safetensors").is_file() for step in steps)
    costs = [fmean(source["bpb"] for source in found[step].values()) for step in steps]
    assert all(later < earlier for earlier, later in itertools.pairwise(costs)), costs
    for source, last in found[STEPS].items():
        assert last["bpb"] < found[EVERY][source]["bpb"], source
        assert last["bpb"] < 8 * 0.65, source
    assert len(found[STEPS]) == len(DOMAINS[model])


# The tails of document 3

BRANCHED, TAIL = 150, 50  # earlier, a model still learns more at the full rate than a tail makes of it
RATES = {"full": PEAK / 10, "slight": PEAK * 0.9}
"""Learning rate at the end of each tail: document 3's tenth, and hardly a decay at all."""


@pytest.fixture(scope="session")
def tails(once: Callable[..., Path], command: Command, trained: Callable[[str], Path]) -> Path:
    """Return the folder of two decay-only tails of the stable run, begun at the same step and equally long."""
    parent = f"{trained('1gpu-small-en-it')}@{BRANCHED}"

    def make(folder: Path) -> None:
        for name, rate in RATES.items():
            command("branch", parent, "--decay", TAIL, "--to", rate, "--out", folder / name)

    return once("tails", make)


def cost(run: Path, step: int) -> float:
    """Return the mean of the held-out BPB of both languages."""
    values = [source["bpb"] for source in logged(run, "validation")[step].values()]
    assert len(values) == 2
    return float(sum(values) / 2)


def test_a_decay_branch_beats_its_parent(trained: Callable[[str], Path], tails: Path) -> None:
    """Both the checkpoint it began at and the stable run after as many steps on the same text."""
    parent, end = trained("1gpu-small-en-it"), BRANCHED + TAIL
    rates = logged(parent, "lr")
    assert rates[BRANCHED] == rates[end] == PEAK
    assert cost(tails / "full", end) < cost(parent, end) < cost(parent, BRANCHED)
    assert "1gpu-small-en-it" in (tails / "full" / "run.json").read_text(encoding="utf-8")


def test_selection_picks_the_better_of_two_tails(command: Command, tails: Path, data_dir: Path, tmp_path: Path) -> None:
    end = BRANCHED + TAIL
    models = [f"{tails / name}@{end}" for name in RATES]
    asked = ("--limit", 20, "--data", data_dir)
    task = ("--suite", "english-italian", "--task", "bpb-it")
    printed, _ = command("select", *models, *task, *asked, "--out", tmp_path / "chosen", "--json")
    command(
        "run", "english-italian", "--tasks", "bpb-it", "--set", "baselines=[]", "--models", ",".join(models), *asked,
        "--out", tmp_path / "records",
    )  # fmt: skip
    records = [record for _, record in RecordStore(tmp_path / "records").records()]
    costs = {record.model.name: record.values["bpb"].value for record in records}
    assert set(costs) == set(models)
    best = min(costs, key=lambda name: costs[name])
    assert best == models[0]  # what was learnt at a high rate is finer after a decay

    selection = json.loads((tmp_path / "chosen" / "selection.json").read_text(encoding="utf-8"))
    assert selection == json.loads(printed)
    assert selection["chosen"] == best
    found = {each["model"]: each["value"] for each in selection["candidates"]}
    assert found == pytest.approx(costs, abs=1e-6)
    assert f"| {best} | {end} |" in (tmp_path / "chosen" / "selection.md").read_text(encoding="utf-8")
    assert len(list((tmp_path / "chosen" / "records").rglob("*.json"))) == 2
