"""Decoding sweeps: the winner of one set of prompts, confirmed on another, and files that Transformers reads."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tilbench.checkpoints.generation import generation_config
from tilbench.cli import cli
from tilbench.config.decoding import Sampling
from tilbench.config.sweep import Sweep
from tilbench.data.rows import Prompt
from tilbench.errors import ConfigError, DataError, TilbenchError, UnknownName, Unsupported
from tilbench.generation.sweep import Outcome, SweepPlan, plan_sweep, run_sweep
from tilbench.generation.sweep_report import write_sweep
from tilbench.kinds.language_model import LanguageModel, ModelCard, OpenOptions
from tilbench.kinds.requests import Answer, Generated, Generation, Request, RequestKind
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.loader import Host
from tilbench.resolve.models import ModelSource
from tilbench.scoring.journal import Journal

SWEEP = Sweep(
    presets={"greedy": Sampling(), "warm": Sampling(temperature=0.7), "hot": Sampling(temperature=2.0)},
    settings={"max_new_tokens": 16},
    objective={"loop_rate": 1.0, "completion_rate": 3.0},
)
OPTIONS = OpenOptions(load_tokenizer=lambda reference: pytest.fail(reference))


class Writer:
    """Loops when it is greedy, ends when it is warm, and never ends when it is hot. It may stop answering."""

    def __init__(self, patience: int = 10**6) -> None:
        self.card = ModelCard(name="writer", fingerprint="writer:1", supports=frozenset({RequestKind.GENERATION}))
        self.patience = patience
        self.asked: list[Request] = []

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        for request in requests:
            self.asked.append(request)
            if len(self.asked) > self.patience:
                raise KeyboardInterrupt
            assert isinstance(request, Generation)
            heat = request.decoding.temperature
            text = "one two " * 5 if not heat else f"once upon a time {len(request.prompt)}"
            yield [(request, Generated(text, 10, complete=0 < heat < 1))]

    def recognises(self, reference: str) -> bool:
        return reference == "writer"

    def open(self, reference: str, options: OpenOptions) -> LanguageModel:
        return self


class Loader:
    """Opens one writer."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def recognises(self, reference: str) -> bool:
        return True

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        return self.writer.card

    def open(self, reference: str, options: OpenOptions) -> LanguageModel:
        return self.writer


def swept(plan: SweepPlan, folder: Path, writer: Writer) -> Outcome:
    source = ModelSource("writer", "writer", Loader(writer))
    with Journal(folder / "journal.sqlite") as journal:
        return run_sweep(plan, source, OPTIONS, journal, lambda *_: None)


@pytest.fixture
def plan(host: Host) -> SweepPlan:
    return plan_sweep(SWEEP, host.registry, ["prompts/kk", "prompts/tr"])


def test_the_best_on_the_tuning_prompts_wins_and_is_confirmed(plan: SweepPlan, tmp_path: Path) -> None:
    outcome = swept(plan, tmp_path, Writer())
    objectives = {result.preset: result.objective for result in outcome.tuning}
    assert objectives == {"warm": 1.0, "hot": 1 / 4, "greedy": 0.0}  # weights 1 and 3
    assert [result.preset for result in outcome.tuning] == ["warm", "hot", "greedy"]
    assert [result.preset for result in outcome.holdout] == ["warm", "greedy"]
    assert outcome.gain is not None
    assert (outcome.gain.difference, outcome.verdict) == (1.0, "confirmed")
    assert outcome.recommended.preset == "warm"


def test_each_part_is_asked_its_own_prompts_only(plan: SweepPlan, tmp_path: Path) -> None:
    writer = Writer()
    swept(plan, tmp_path, writer)
    tuning = {each.prompt for each in writer.asked[: 3 * plan.tuning.count] if isinstance(each, Generation)}
    holdout = {each.prompt for each in writer.asked[3 * plan.tuning.count :] if isinstance(each, Generation)}
    assert not tuning & holdout
    assert (len(tuning), len(holdout)) == (plan.tuning.count, plan.holdout.count)
    assert len(writer.asked) == 3 * plan.tuning.count + 2 * plan.holdout.count


def test_the_seed_alone_decides_the_split(host: Host, plan: SweepPlan) -> None:
    again = plan_sweep(SWEEP, host.registry, ["prompts/tr", "prompts/kk"])
    count = plan.tuning.count + plan.holdout.count
    assert (again.tuning.count, again.holdout.count) == (plan.tuning.count, plan.holdout.count)
    other = plan_sweep(SWEEP, host.registry, ["prompts/kk", "prompts/tr"], seed=1)
    assert other.tuning.rows != plan.tuning.rows
    assert other.tuning.count + other.holdout.count == count


def test_a_hold_out_dataset_of_its_own(host: Host, tmp_path: Path) -> None:
    plan = plan_sweep(SWEEP, host.registry, ["prompts/kk"], ["prompts/tr"])
    outcome = swept(plan, tmp_path, Writer())
    assert {text.dataset for text in outcome.tuning[0].texts} == {"prompts/kk"}
    assert {text.dataset for text in outcome.holdout[0].texts} == {"prompts/tr"}
    with pytest.raises(DataError, match="named for tuning and for the hold-out"):
        plan_sweep(SWEEP, host.registry, ["prompts/kk"], ["prompts/kk"])


def test_a_prompt_in_both_parts_is_refused(host: Host, tmp_path: Path) -> None:
    for name, rows in (("a", ["one", "two"]), ("b", ["three", "two"])):
        lines = [json.dumps({"id": f"{name}{place}", "prompt": text}) for place, text in enumerate(rows)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    a, b = (str(tmp_path / f"{name}.jsonl") for name in "ab")
    with pytest.raises(DataError, match="1 prompts are in both parts, such as 'two'"):
        plan_sweep(SWEEP, host.registry, [a], [b])


def test_a_killed_sweep_asks_nothing_twice_and_ends_the_same(plan: SweepPlan, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = swept(plan, tmp_path / "whole", Writer())
    stopped = Writer(patience=40)
    with pytest.raises(KeyboardInterrupt):
        swept(plan, tmp_path / "killed", stopped)
    again = Writer()
    assert swept(plan, tmp_path / "killed", again) == whole
    assert not set(stopped.asked[:-1]) & set(again.asked)
    assert len(stopped.asked[:-1]) + len(again.asked) == 3 * plan.tuning.count + 2 * plan.holdout.count


def test_a_winner_that_does_worse_on_other_prompts_is_not_recommended(plan: SweepPlan, tmp_path: Path) -> None:
    held = {row for rows in plan.holdout.rows.values() for row in rows}
    rows = [row for task in plan.tasks["warm"] for row in task.rows if isinstance(row, Prompt) and row.id in held]
    prompts = {row.prompt for row in rows}

    class Fickle(Writer):
        def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
            for request in requests:
                assert isinstance(request, Generation)
                warm = 0 < request.decoding.temperature < 1
                yield [(request, Generated("well", 1, complete=warm != (request.prompt in prompts)))]

    outcome = swept(plan, tmp_path, Fickle())
    assert outcome.winner.preset == "warm"
    assert outcome.verdict == "the default is better"
    assert outcome.recommended.preset == "greedy"


def test_the_default_may_win(host: Host, tmp_path: Path) -> None:
    sweep = SWEEP.model_copy(update={"default": "warm"})
    outcome = swept(plan_sweep(sweep, host.registry, ["prompts/kk"]), tmp_path, Writer())
    assert (outcome.verdict, len(outcome.holdout), outcome.gain) == ("the default won", 1, None)


def test_a_few_prompts_confirm_nothing_however_large_the_gain(host: Host, tmp_path: Path) -> None:
    plan = plan_sweep(SWEEP, host.registry, ["prompts/kk"], limit=6)
    outcome = swept(plan, tmp_path, Writer())
    assert outcome.gain is not None
    assert 1 < plan.holdout.count < 6
    assert (outcome.gain.difference, outcome.verdict) == (
        1.0,
        "too few hold-out prompts to compare with the default, at least 6 needed",
    )
    assert outcome.recommended.preset == "warm"


def test_a_term_that_a_text_lacks_counts_as_nothing(host: Host, tmp_path: Path) -> None:
    class Silent(Writer):
        def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
            for request in requests:
                assert isinstance(request, Generation)
                yield [(request, Generated("one two three" if request.decoding.temperature else "", 3, False))]

    sweep = SWEEP.model_copy(update={"objective": {"distinct_2": 1.0}})
    outcome = swept(plan_sweep(sweep, host.registry, ["prompts/en"]), tmp_path, Silent())
    assert {result.preset: result.objective for result in outcome.tuning} == {"warm": 1.0, "hot": 1.0, "greedy": 0.0}


def test_the_files_say_what_was_found_and_transformers_reads_them(plan: SweepPlan, tmp_path: Path) -> None:
    from transformers import GenerationConfig

    outcome = swept(plan, tmp_path, Writer())
    out = tmp_path / "out"
    out.mkdir()
    write_sweep(out, plan, outcome, SpecialTokens(bos=1, eos=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config: Any = GenerationConfig.from_pretrained(out)
        config.validate(strict=True)
    assert (config.do_sample, config.temperature, config.top_k, config.eos_token_id) == (True, 0.7, 0, 2)
    assert config.max_new_tokens == 16
    recommended = json.loads((out / "recommended_decoding_params.json").read_text("utf-8"))
    assert (recommended["preset"], recommended["temperature"], recommended["verdict"]) == ("warm", 0.7, "confirmed")
    with (out / "tuning.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    loops = {
        row["preset"]: row["value"]
        for row in rows
        if (row["dataset"], row["value_name"]) == ("prompts/kk", "loop_rate")
    }
    assert loops == {"warm": "0.0", "hot": "0.0", "greedy": "1.0"}
    lines = (out / "holdout_generations.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 2 * plan.holdout.count
    assert "**warm**; on the hold-out prompts: **confirmed**" in (out / "decoding_report.md").read_text("utf-8")
    assert json.loads((out / "decoding_summary.json").read_text("utf-8"))["winner"] == "warm"


def test_a_greedy_config_raises_no_warning(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    make: Any = GenerationConfig
    config = generation_config(Sampling(no_repeat_ngram=3), SpecialTokens(), max_new_tokens=8, stop=["\n"])
    assert config == {
        "do_sample": False,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 3,
        "max_new_tokens": 8,
        "stop_strings": ["\n"],
    }
    make(**config).validate(strict=True)


def test_a_grid_is_every_combination_once() -> None:
    sweep = Sweep(presets={"greedy": Sampling()}, grid={"temperature": [0.0, 0.5], "top_k": [0, 5]})
    assert list(sweep.candidates()) == [
        "greedy",
        "temperature=0 top_k=5",
        "temperature=0.5 top_k=0",
        "temperature=0.5 top_k=5",
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"default": "none"}, "none of the presets"),
        ({"grid": {"heat": [1.0]}}, "a preset has temperature"),
        ({"grid": {"top_p": [2.0]}}, "top_p"),
        ({"objective": {"loop_rate": 0.0}}, "more than 0"),
    ],
)
def test_a_faulty_sweep_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Sweep.model_validate(fields)


def test_what_cannot_be_swept_is_said_in_one_line(host: Host, plan: SweepPlan, tmp_path: Path) -> None:
    deaf = Writer()
    deaf.card = ModelCard(name="writer", fingerprint="deaf", supports=frozenset())
    with pytest.raises(Unsupported, match="writer writes no text"):
        swept(plan, tmp_path, deaf)
    odd = Sweep(objective={"loops": 1.0})
    with pytest.raises(UnknownName, match="loop_rate"):
        swept(plan_sweep(odd, host.registry, ["prompts/kk"]), tmp_path, Writer())
    long = Sweep(objective={"mean_words": 1.0})
    with pytest.raises(ConfigError, match="from 0 to 1"):
        swept(plan_sweep(long, host.registry, ["prompts/kk"]), tmp_path, Writer())
    with pytest.raises(TilbenchError, match="scores prompts"):
        plan_sweep(SWEEP, host.registry, ["text/kk/heldout"])


def test_the_command_sweeps_a_trained_model(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_layers": 1, "intermediate_size": 64, "max_length": 128}
    settings = {
        "tokenizer": "{family: bytes}",
        "data": "[{dataset: text/kk/train}]",
        "recipe.steps": 1,
        **{f"architecture.config.{name}": size for name, size in sizes.items()},
    }
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    run, out = str(tmp_path / "run"), tmp_path / "out"
    trained = CliRunner().invoke(cli, ["train", "turkish-v1:tiny", *sets, "--out", run], standalone_mode=False)
    assert trained.exception is None, trained.output
    asked = ["decode", run, "--prompts", "prompts/kk", "--limit", "6", "--set", "settings.max_new_tokens=8"]
    result = CliRunner().invoke(cli, [*asked, "--out", str(out), "--device", "cpu", "--json"], standalone_mode=False)
    assert result.exception is None, result.output
    found = json.loads((out / "decoding_summary.json").read_text("utf-8"))
    assert found["tuning"]["prompts"] + found["holdout"]["prompts"] == 6
    assert len(found["tuning"]["results"]) == len(Sweep().presets)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]
    again = CliRunner().invoke(cli, [*asked, "--out", str(out)], standalone_mode=False)
    assert "not an empty folder" in str(again.exception)
    dry = CliRunner().invoke(cli, [*asked, "--out", str(tmp_path / "dry"), "--dry-run"], standalone_mode=False)
    assert "nothing was computed" in dry.output
    assert not (tmp_path / "dry").exists()
