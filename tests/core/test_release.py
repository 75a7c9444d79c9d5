"""`tilbench release`: one folder with all that publishing a checkpoint needs, every number of it from a record."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilbench.checkpoints.folder import find_checkpoint, read_info
from tilbench.kinds.language import Language
from tilbench.loader import Host

FILES = {
    "README.md",
    "RELEASE.md",
    "SHA256SUMS",
    "benchmark_metrics.json",
    "benchmark_report.md",
    "benchmark_scores.json",
    "benchmark_source_losses.json",
    "best_validation.json",
    "comparison.json",
    "config.json",
    "decoding_report.md",
    "decoding_summary.json",
    "eval_metrics.jsonl",
    "eval_summary.json",
    "generation_config.json",
    "holdout.csv",
    "holdout_generations.jsonl",
    "metrics.jsonl",
    "model.safetensors",
    "native",
    "probe_generations.jsonl",
    "recommended_decoding_params.json",
    "records",
    "tokenizer.json",
    "tokenizer_config.json",
    "training_config.json",
    "tuning.csv",
    "tuning_generations.jsonl",
}
Command = Callable[..., Any]
SWEEP = "presets: {greedy: {}, open: {temperature: 1.0}}\nsettings: {max_new_tokens: 8}\n"


def train(tilbench: Command, spec: str, out: str, *settings: str) -> None:
    given = [
        "recipe.steps=8",
        "recipe.schedule={warmup: 2}",
        "recipe.checkpoint_every=4",
        "recipe.validate_every=4",
        *settings,
    ]
    done = tilbench("train", spec, *(part for each in given for part in ("--set", each)), "--out", out)
    assert done.status == 0, done.err


@pytest.mark.slow
def test_a_bundle_is_whole_and_its_numbers_are_those_of_its_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tilbench: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    probe = "recipe.probe={words: [{prompt: The sun is, target: hot}], every: 4}"
    train(tilbench, "1gpu-small-en-it:tiny", "runs/a", probe)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    asked = ["--suites", "english-italian", "--limit", "4", "--sweep", "sweep.yaml", "--out", "out"]
    planned = tilbench("release", "runs/a", *asked, "--dry-run", "--json")
    assert json.loads(planned.out)["against"] == "runs/a@0"
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "records").exists()
    other = ["--models", "runs/a,runs/a@0", "--tasks", "bpb-it,sample-it-letter", "--limit", "8"]
    assert tilbench("run", "english-italian", *other, "--out", "records").status == 0
    done = tilbench("release", "runs/a", *asked)
    assert done.status == 0, done.err
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == FILES
    assert tilbench("records", "verify", out / "records").status == 0
    for line in (out / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    records = [json.loads(path.read_text()) for path in (out / "records").rglob("*.json")]
    scores = json.loads((out / "benchmark_scores.json").read_text())
    card = (out / "README.md").read_text()
    assert len(scores) > 5
    for record in records:
        if record["status"] == "done":
            task = record["task"]
            headline = record["values"][task["headline"]]
            assert scores[f"{task['suite']}/{task['name']}"]["value"] == headline["value"]
            assert task["fingerprint"][:12] in card
    losses = json.loads((out / "benchmark_source_losses.json").read_text())
    assert set(losses) == {"english-italian/bpb-en", "english-italian/bpb-it"}
    log = [json.loads(line) for line in (tmp_path / "runs/a/log.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert metrics == [line for line in log if "loss" in line]
    best = json.loads((out / "best_validation.json").read_text())
    assert best in log
    assert "probes" in (out / "probe_generations.jsonl").read_text()
    compared = json.loads((out / "comparison.json").read_text())["suites"]
    assert set(compared) == {"english-italian"}
    assert {task["n"] for task in compared["english-italian"]["tasks"]} == {4}  # and not of the 8 rows on record
    begins = {
        json.loads((out / name).read_text())["bos_token_id"] for name in ("config.json", "generation_config.json")
    }
    assert begins == {read_info(find_checkpoint(tmp_path / "runs/a")).prefix}
    summary = json.loads((out / "decoding_summary.json").read_text())
    assert f"on {summary['holdout']['prompts']} others, {summary['verdict']}." in card
    assert "## Italiano" in card
    assert "Risultati" in card
    italian = card.partition("## Italiano")[2]
    assert "676.992" in italian
    assert re.search(r"\| \d,\d+ \| \[\d,\d+; \d,\d+\] \|", italian)
    assert not re.search(r"\d\.\d\d? |\d\.\d+%", italian)
    assert "A is runs/a" in card
    assert re.search(r"\| 4 of \d+ \|", card)
    assert re.search(r"Not above chance, by its 95% interval: .*sample", card)
    again = tilbench("release", "runs/a", *asked)
    assert again.status == 2
    assert "out exists; name a folder that does not" in again.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/none"], "no such folder"),
        (["run", "--suites", "english-itelian"], "did you mean english-italian"),
        (["run", "--suites", "turkish"], "allow it with --allow-code"),
        (["run/step-00000002", "--suites", "turkish", "--against", "nothing-like-it", "--allow-code"], "unknown model"),
    ],
)
def test_mistakes_are_one_line_and_cost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tilbench: Command, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["--set", "recipe.steps=2", "--set", "recipe.schedule={warmup: 1}"]
    assert tilbench("train", "turkish-v1:tiny", *short, "--out", "run").status == 0
    before = sorted(tmp_path.rglob("*"))
    done = tilbench("release", *arguments, "--out", "out")
    assert done.status == 2
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert sorted(tmp_path.rglob("*")) == before


def test_the_words_of_a_card_are_no_part_of_what_scores_depend_on(host: Host) -> None:
    spoken = [language for _, language in host.registry.languages.all() if language.card is not None]
    assert {language.tag for language in spoken} >= {"kk-Cyrl", "tr-Latn", "it-Latn", "ru-Cyrl"}
    for language in spoken:
        assert isinstance(language, Language)
        assert language.card is not None
        assert "card" not in language.deciding
        made = language.card.about.format(name="m", parameters="7")
        assert "m" in made
        assert "7" in made
