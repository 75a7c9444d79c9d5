"""Every suite: its fields, the names it uses, and its plan with and without the data directory."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner

from tilbench.cli import cli
from tilbench.config.references import parse_spec
from tilbench.config.suite import Suite
from tilbench.config.yaml import load
from tilbench.evaluation.plan import PlannedTask, plan_tasks
from tilbench.loader import load_plugins
from tilbench.registry import Registry
from tilbench.resolve.datasets import documents
from tilbench.resolve.specs import load_spec

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "suites").glob("*.yaml"))
NOWHERE = {"kk_copa", "answers-alpaca", "answers-muri"}
"""Tasks on data that no loader on the Hub has."""
OURS = {
    "english-italian",
    "english-italian-base",
    "five-domain",
    "kazakh",
    "kazakh-instruct",
    "kazakh-legacy",
    "quickstart",
    "russian",
    "tokenizers",
    "turkic",
    "turkish",
}


def loaded() -> Registry:
    """Return the plugin folders of this checkout, whatever is installed."""
    names = sorted(folder.parent.name for folder in (ROOT / "plugins").glob("tilbench_*/__init__.py"))
    points = [(EntryPoint(name.removeprefix("tilbench_"), name, "tilbench"), "tilbench") for name in names]
    return load_plugins(entry_points=points).registry


REGISTRY = loaded()


def planned(name: str, data: Path | None) -> dict[str, PlannedTask]:
    suite = load(ROOT / "suites" / f"{name}.yaml", Suite)
    return {task.used.name: task for task in plan_tasks(suite, suite.tasks, REGISTRY, data)}


def test_the_suites_are_here() -> None:
    assert {path.stem for path in FILES} >= OURS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_suite_uses_registered_names(path: Path) -> None:
    suite = load(path, Suite)
    assert suite.name == path.stem
    assert suite.title
    assert suite.summary
    for task in suite.tasks:
        assert task.summary, task.name
        assert task.language in REGISTRY.languages, task.name
        metric = REGISTRY.metrics.get(task.metric)
        metric.Settings(**task.settings)
        for name in (task.dataset, task.examples):
            if isinstance(name, str):
                assert REGISTRY.datasets.get(name).language == task.language
    for reference in suite.models:
        load_spec(parse_spec(reference), REGISTRY)
    for baseline in suite.baselines:
        assert REGISTRY.loaders.get(baseline).recognises(baseline)
    for text in suite.reference_text:
        assert documents(text, REGISTRY, None)[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_suite_plans_without_a_data_directory(path: Path) -> None:
    for name, task in planned(path.stem, None).items():
        assert task.missing or task.requests, name
        if task.missing:
            assert "DIR" in task.missing
            assert not task.rows


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_suite_plans_with_the_data_directory(path: Path, data_dir: Path) -> None:
    for name, task in planned(path.stem, data_dir).items():
        if task.missing:  # only what has to come from the Hub, and what has no loader there
            assert "cannot be had from the Hub" in task.missing or name in NOWHERE, name
        else:
            assert len(task.requests) == len(task.rows) > 0


def test_an_empty_data_directory_changes_nothing(tmp_path: Path) -> None:
    without, empty = planned("turkish", None), planned("turkish", tmp_path)
    assert {name: bool(task.missing) for name, task in without.items()} == {
        name: bool(task.missing) for name, task in empty.items()
    }
    assert empty["tumlu-tr-letter"].missing


@pytest.mark.parametrize("name", ["quickstart", "five-domain"])
def test_what_the_repository_ships_is_enough(name: str) -> None:
    assert not [task for task, plan in planned(name, None).items() if plan.missing]


def test_english_and_italian_need_the_hub_for_public_exams_alone() -> None:
    missing = {task for task, plan in planned("english-italian", None).items() if plan.missing}
    assert {task.split("-")[0] for task in missing} == {"belebele", "include", "xcopa", "multiblimp"}


def test_quickstart_scores_every_tiny_variant_beside_its_untrained_self() -> None:
    suite = load(ROOT / "suites" / "quickstart.yaml", Suite)
    tiny = {f"{name}:tiny" for name in REGISTRY.models.names()}
    assert set(suite.models) == tiny | {f"{name}@0" for name in tiny}
    assert suite.train == "auto"


def test_kazakh_names_its_public_exams_and_where_to_get_them() -> None:
    plan = planned("kazakh", None)
    units = [name for name in plan if name.startswith("kk_unt_")]
    assert len(units) == 7
    assert len([name for name in plan if name.startswith("kazmmlu-")]) == 12
    for name in (
        *units,
        "kk_mmlu",
        "kk_constitution",
        "kk_dastur",
        "include-kk",
        "belebele-kk-letter",
        "multiblimp-kk",
    ):
        assert "put the split at DIR/" in plan[name].missing
    assert "put it at DIR/kk_copa.jsonl" in plan["kk_copa"].missing


def test_turkic_has_every_language_of_tumlu() -> None:
    suite = load(ROOT / "suites" / "turkic.yaml", Suite)
    letter, cloze, *_ = suite.macros
    languages = {task.language for task in suite.tasks if task.name in letter.tasks}
    assert len(languages) == len(letter.tasks) == len(cloze.tasks) == 9
    assert {task.language for task in suite.tasks} == languages


def test_kazakh_with_data_has_everything_but_the_hub(data_dir: Path) -> None:
    plan = planned("kazakh", data_dir)
    done = [name for name, task in plan.items() if not task.missing]
    assert len(done) == 11
    assert len(plan["tumlu-kk-letter"].rows) == 896
    assert len(plan["belebele-kk-cloze"].rows) == 900
    assert len(plan["fertility-kk"].rows) == 11_307
    shots = plan["tumlu-kk-letter-5shot"]
    assert shots.used.shots == 5
    assert shots.used.fingerprint != plan["tumlu-kk-letter"].used.fingerprint


def test_five_domain_macro_is_over_all_five() -> None:
    suite = load(ROOT / "suites" / "five-domain.yaml", Suite)
    (macro,) = suite.macros
    assert sorted(macro.tasks) == sorted(task.name for task in suite.tasks)
    assert macro.value == "bpb"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_suite_shows_what_it_would_run(path: Path) -> None:
    shown = CliRunner().invoke(cli, ["run", str(path), "--models", "uniform-bytes", "--dry-run"])
    assert shown.exit_code == 0, shown.output
    suite = load(path, Suite)
    assert all(task.name in shown.output for task in suite.tasks)


EVALUATIONS = {
    "til-mini-1b": ("five-domain", {"bpb"}),
    "gemma-3-kazakh-qlora": ("kazakh-instruct", {"choice", "fertility", "instruction", "translation"}),
    "1gpu-small-en-it": ("english-italian-base", {"bpb", "probe", "behavior"}),
    "turkish-v1": ("turkish", {"bpb", "fertility"}),
    "turkish-v2": ("turkish", {"bpb", "fertility"}),
    "auto-g-nano-1b": ("english-python", {"bpb", "verdict"}),
}


@pytest.mark.parametrize("model", EVALUATIONS)
def test_every_document_has_its_own_evaluation_in_one_suite(model: str) -> None:
    name, metrics = EVALUATIONS[model]
    suite = load(ROOT / "suites" / f"{name}.yaml", Suite)
    assert metrics <= {task.metric for task in suite.tasks}
    languages = set(load_spec(parse_spec(model), REGISTRY).languages)
    assert {task.language for task in suite.tasks} >= languages
    assert set(REGISTRY.models.names()) == EVALUATIONS.keys()


def test_kazakh_instruct_asks_the_exams_of_the_report_as_they_are() -> None:
    asked, legacy = planned("kazakh-instruct", None), planned("kazakh-legacy", None)
    exams = {name.removeprefix("kk_").removeprefix("unt_") for name in asked if name.startswith("kk_")}
    assert exams == {name.removeprefix("kk_legacy12_") for name in legacy} - {"unified"}


def test_the_decoding_of_english_italian_base_is_what_the_card_recommends() -> None:
    suite = load(ROOT / "suites" / "english-italian-base.yaml", Suite)
    card = load_spec(parse_spec("1gpu-small-en-it"), REGISTRY).generation
    assert card is not None
    balanced = [task for task in suite.tasks if task.name.startswith("balanced-")]
    assert len(balanced) == 2
    for task in balanced:
        settings = REGISTRY.metrics.get("behavior").Settings(**task.settings)
        assert all(getattr(settings, field) == found for field, found in asdict(card).items())
