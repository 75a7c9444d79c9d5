"""The checks themselves: every good toy passes, every broken one fails the check that is there for it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support import broken

from tilbench import testing
from tilbench.config.model import Recipe
from tilbench.data.dataset import Dataset
from tilbench.data.rows import KINDS, Document, Question, Row
from tilbench.errors import ConfigError, MissingDependency, PluginError, Unsupported
from tilbench.kinds.executor import Ended
from tilbench.kinds.exporter import ExportJob
from tilbench.kinds.hardware import HardwareProfile
from tilbench.kinds.language import Language
from tilbench.kinds.trainer import TrainingJob
from tilbench.registry import KINDS as PLUGIN_KINDS
from tilbench.registry import Entry, Origin, Registry
from tilbench.testing import (
    ArchitectureConformance,
    Conformance,
    DatasetConformance,
    ExecutorConformance,
    HardwareConformance,
    LanguageConformance,
    LanguageModelConformance,
    LoaderConformance,
    MetricConformance,
    TokenizerConformance,
    ToyArchitecture,
    ToyConfig,
    ToyDecoder,
    ToyLanguageModel,
    ToyLoader,
    ToyMetric,
    ToyTokenizerFamily,
    TrainerConformance,
    conformance,
    toy_language,
    toy_rows,
)
from tilbench.testing.modules import example_config


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# From pytest, as a third party would


class TestToyArchitecture(ArchitectureConformance):
    subject, config = ToyArchitecture(), {"vocab_size": 40}


class TestToyTokenizer(TokenizerConformance):
    subject, options = ToyTokenizerFamily(), {}


class TestToyMetric(MetricConformance):
    subject = ToyMetric


class TestToyLoader(LoaderConformance):
    reference = "toy"

    @pytest.fixture(autouse=True)
    def _subject(self) -> None:
        self.subject = ToyLoader()


class TestToyLanguageModel(LanguageModelConformance):
    subject = ToyLanguageModel()


# Broken ones

CASES = {
    ArchitectureConformance: broken.ARCHITECTURES,
    TokenizerConformance: broken.TOKENIZERS,
    MetricConformance: broken.METRICS,
    LanguageModelConformance: broken.LANGUAGE_MODELS,
    LoaderConformance: broken.LOADERS,
}
BROKEN = [
    pytest.param(checks, subject, expected, id=f"{checks.__name__}-{what}".replace(" ", "-"))
    for checks, cases in CASES.items()
    for what, (subject, expected) in cases.items()
]


def made(checks: type[Conformance], **attributes: Any) -> Conformance:
    conforms = checks()
    for name, value in attributes.items():
        setattr(conforms, name, value)
    return conforms


def failed(conforms: Conformance) -> dict[str, str]:
    return {outcome.check: outcome.reason for outcome in conforms.run() if outcome.status == "fail"}


@pytest.mark.parametrize(("checks", "subject", "expected"), BROKEN)
def test_a_fault_fails_its_check(checks: type[Conformance], subject: Any, expected: set[str]) -> None:
    options: dict[str, Any] = {}
    if checks is TokenizerConformance:
        options = {"options": {}}
    if checks is LoaderConformance:
        options = {"reference": "toy"}
    found = failed(made(checks, subject=subject, **options))
    assert expected <= set(found), found
    assert all(reason and "\n" not in reason for reason in found.values())
    # one fault, not all of them at once
    assert len(found) < len(checks.checks()) / 2, found


@pytest.mark.parametrize("what", ["dead parameter", "wrong formula", "loud start", "rows mix", "keeps the prefix"])
def test_a_fault_fails_nothing_else(what: str) -> None:
    subject, expected = broken.ARCHITECTURES[what]
    assert set(failed(made(ArchitectureConformance, subject=subject))) == expected


# What declines is not broken


class _Declines(ToyDecoder):
    def hidden(self, ids: Any, *, positions: Any = None, mask: Any = None, cache: Any = None) -> Any:
        if mask is not None or positions is not None or cache is not None:
            raise Unsupported("one sequence a row, and no cache")
        return super().hidden(ids)


class _DecliningArchitecture(ToyArchitecture):
    module = _Declines


def test_a_declined_mask_is_not_applicable() -> None:
    outcomes = {each.check: each for each in made(ArchitectureConformance, subject=_DecliningArchitecture()).run()}
    declined = {name for name, each in outcomes.items() if each.status == "n/a"} - {"device_moves"}
    assert declined == {
        *("cached_token_by_token", "cached_in_chunks", "packed_documents_equal_separate"),
        *("prefix_trees_equal_separate", "prefix_trees_on_a_cached_trunk"),
        *("cache_keep", "cache_select", "cache_join"),
    }
    assert outcomes["cached_in_chunks"].reason == "one sequence a row, and no cache"
    assert not [each for each in outcomes.values() if each.status == "fail"]


def test_a_tokenizer_can_say_that_it_is_lossy() -> None:
    subject = broken.TOKENIZERS["lossy"][0]
    assert "lossless" in failed(made(TokenizerConformance, subject=subject, options={}))
    assert not failed(made(TokenizerConformance, subject=subject, options={}, lossless=False))
    reason = failed(made(TokenizerConformance, subject=subject, options={}))["lossless"]
    assert "comes back as" in reason


def test_a_crash_is_a_failure_with_its_type() -> None:
    class Crashes(Conformance):
        def test_something(self) -> None:
            raise KeyError("x\ny")

        def test_something_optional(self) -> None:
            raise MissingDependency("peft", "hf", "an adapter")

    first, second = Crashes().run()
    assert (first.check, first.status) == ("something", "fail")
    assert first.reason.startswith("KeyError: ")
    assert second.status == "n/a"


def test_checks_run_in_the_order_they_are_written() -> None:
    names = MetricConformance.checks()
    assert names[0] == "interface"
    assert names.index("row_order_does_not_matter") < names.index("headline_is_a_value")
    assert ArchitectureConformance.checks()[0] == "cached_token_by_token"


# Configs and settings


def test_a_config_is_the_example_with_changes() -> None:
    assert example_config(ToyArchitecture()).model_dump()["width"] == 16
    assert example_config(ToyArchitecture(), {"width": 8}).model_dump()["width"] == 8
    ready = example_config(ToyArchitecture())
    assert example_config(ToyArchitecture(), ready) is ready


def test_a_missing_config_names_the_field() -> None:
    class NeedsName(ToyArchitecture):
        class Config(ToyConfig):
            model_type: str

    with pytest.raises(ConfigError, match=r"model_type: Field required; give it with --set config.model_type=…"):
        list(made(ArchitectureConformance, subject=NeedsName()).run())


def test_settings_are_laid_over_and_refused() -> None:
    conforms = made(MetricConformance, subject=ToyMetric)
    conforms.change({"settings": {"scale": 2.0}})
    assert not failed(conforms)
    with pytest.raises(ConfigError, match="no such setting; did you mean settings?"):
        conforms.change({"setings": {}})
    with pytest.raises(ConfigError, match=r"settings\.scale: "):
        list(made(MetricConformance, subject=ToyMetric, settings={"scale": "x"}).run())


# Toy parts


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_toy_rows_differ(kind: str) -> None:
    rows = toy_rows(kind, 20)
    assert len({row.id for row in rows}) == len({repr(row) for row in rows}) == 20
    assert {row.kind for row in rows} == {kind}


def test_testing_imports_no_torch_and_no_plugin() -> None:
    code = (
        "import sys\nfrom tilbench.testing import MetricConformance, TokenizerConformance, LanguageConformance\n"
        "from tilbench.testing import ToyLanguageModel, toy_rows\n"
        "assert 'torch' not in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('tilbench_')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_everything_public_is_there() -> None:
    assert all(getattr(testing, name) is not None for name in testing.__all__)
    with pytest.raises(AttributeError):
        _ = testing.no_such_thing


# Languages and datasets


def language(**changes: Any) -> Language:
    return replace(toy_language(), **changes)


def language_checks(subject: Language, **samples: list[Row]) -> dict[str, str]:
    conforms = made(LanguageConformance, subject=subject, datasets={}, _rows=samples)
    return failed(conforms)


def test_a_good_language_passes() -> None:
    questions = [Question(f"q{n}", f"what {n}", ("a", "b"), n % 2) for n in range(8)]
    assert not language_checks(toy_language(), train=toy_rows("documents", 3), test=[*questions])


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"tag": "qaa"}, "tag"),
        ({"tag": "qaa-Cyrl"}, "tag"),
        ({"alphabet": "abca"}, "alphabet"),
        ({"alphabet": "abҚ"}, "alphabet"),
        ({"alphabet": "abқ"}, "alphabet"),
        ({"alphabet": "abC"}, "alphabet"),
        ({"native_name": ""}, "names"),
        ({"cues": replace(toy_language().cues, question="Question:")}, "cues"),
        ({"cues": replace(toy_language().cues, question="Сұрақ")}, "cues"),
        ({"cues": replace(toy_language().cues, letters="AAB")}, "cues"),
        ({"tag": "qaa-Xxxx", "script": "Xxxx"}, "alphabet"),
    ],
)
def test_a_faulty_language_fails(changes: dict[str, Any], check: str) -> None:
    assert check in language_checks(language(**changes))


@pytest.mark.parametrize(
    ("samples", "check"),
    [
        ({"test": [Question(f"q{n}", f"{n}", ("a", "b", "c"), 1) for n in range(12)]}, "answers_are_spread"),
        ({"test": [Question("q1", "x", ("a", "a"), 1)]}, "options_differ"),
        (
            {"dev": [Question("q1", "x", ("a", "b"), 1)], "test": [Question("q2", "x", ("a", "b"), 1)]},
            "options_differ",
        ),
        (
            {"train": [Document("a", "same text\n")], "heldout": [Document("b", "same  text")]},
            "heldout_text_is_unseen",
        ),
        ({"train": [Document("a", "x")], "heldout": [Document("a", "y")]}, "ids_are_unique"),
        ({"train": [Document("a", "Қазақ тілі мен әдебиеті")]}, "text_is_in_the_script"),
    ],
)
def test_faulty_samples_fail(samples: dict[str, list[Row]], check: str) -> None:
    assert set(language_checks(toy_language(), **samples)) == {check}


def test_a_shipped_language_has_all_its_samples_or_none() -> None:
    for samples, fails in (({"train": [Document("a", "кітап оқимыз")]}, True), ({}, False)):
        conforms = made(LanguageConformance, subject=toy_language(), datasets={}, shipped=True, _rows=samples)
        assert ("samples_are_there" in failed(conforms)) == fails


def test_scripts_written_in_several_unicode_scripts() -> None:
    cues = replace(toy_language().cues, passage="文章", question="質問", options="選択肢", answer="答え")
    assert not language_checks(language(tag="ja-Jpan", script="Jpan", alphabet="あいア漢", cues=cues))


def test_datasets(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": "a", "text": "x"}\n{"id": "b", "text": "x"}\n', encoding="utf-8")
    dataset = Dataset(kind="documents", language="qaa-Latn", path=str(file))
    assert not failed(made(DatasetConformance, subject=dataset))
    file.write_text('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', encoding="utf-8")
    assert "rows_load" in failed(made(DatasetConformance, subject=dataset))
    hub = replace(dataset, path="", hub="org/name", split="test")
    outcomes = made(DatasetConformance, subject=hub).run()
    assert {each.check: each.status for each in outcomes}["rows_load"] == "n/a"
    (tmp_path / "org/name").mkdir(parents=True)
    file.rename(tmp_path / "org/name/test.jsonl")
    assert "rows_load" in failed(made(DatasetConformance, subject=hub, data_dir=tmp_path))
    assert "declares_what_it_is" in failed(made(DatasetConformance, subject=replace(dataset, language="")))


def test_shipped_rows_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "toy_shipped_rows"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "a.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "b", "text": "x"}\n', encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    dataset = Dataset(kind="documents", language="qaa-Latn", package="toy_shipped_rows", file="a.jsonl")
    assert set(failed(made(DatasetConformance, subject=dataset))) == {"no_row_twice", "licence_is_stated"}


# Hardware, executors, trainers


def test_hardware() -> None:
    good = HardwareProfile(name="a", device="cpu", memory_gib=1, peak_tflops={"fp32": 1}, source="here")
    assert not failed(made(HardwareConformance, subject=good))
    for changes, check in (
        ({"memory_gib": -1}, "figures_are_positive"),
        ({"device": "abacus"}, "device_and_precisions_are_known"),
        ({"peak_tflops": {"float32": 1}}, "device_and_precisions_are_known"),
        ({"source": ""}, "source_is_stated"),
    ):
        assert set(failed(made(HardwareConformance, subject=replace(good, **changes)))) == {check}


def test_executors() -> None:
    class Loses:
        def run(self, work: Any, jobs: Any) -> Iterator[Any]:
            for place, job in enumerate(list(jobs)[1:]):
                try:
                    yield from ((place, event) for event in work(job))
                except Exception:
                    return
                yield place, Ended()

    every = {"every_job_is_done", "an_error_ends_one_job", "other_exceptions_are_raised"}
    assert set(failed(made(ExecutorConformance, subject=Loses()))) == every


class _NeverResumes:
    """Starts again from the untrained module whatever is there, and saves only that."""

    def fit(self, job: TrainingJob) -> Path:
        from tilbench.checkpoints.folder import CheckpointInfo, step_folder, write_info

        assert isinstance(job.spec.recipe, Recipe)
        folder = step_folder(job.out, job.spec.recipe.steps)
        folder.mkdir(parents=True, exist_ok=True)
        job.architecture.save(job.module, folder)
        info = CheckpointInfo(
            model="toy", architecture=job.spec.architecture, tokenizer="toy", prefix=1, parameters=1, step=6
        )
        write_info(folder, info)
        return folder


def test_a_trainer_that_does_not_train_or_resume() -> None:
    assert set(failed(made(TrainerConformance, subject=_NeverResumes()))) == {
        *("it_trains_and_saves", "it_resumes_to_the_same_weights", "a_finished_run_stays"),
    }


# By registered name


def registry_with(kind: str, target: Any) -> Registry:
    registry = Registry()
    registry.kind(kind).add(Entry("toy", target, "", "toys", "toys", Origin(__file__, 1)))
    return registry


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("architectures", ToyArchitecture),
        ("metrics", ToyMetric),
        ("loaders", ToyLoader),
        ("languages", toy_language()),
        ("hardware", HardwareProfile(name="toy", device="cpu", memory_gib=1, peak_tflops={}, source="here")),
    ],
)
def test_by_name(kind: str, target: Any) -> None:
    outcomes = list(conformance(kind, "toy", registry_with(kind, target)).run())
    assert len(outcomes) > 3
    assert not [each for each in outcomes if each.status == "fail"]


def test_every_kind_is_known() -> None:
    class Exports:
        def export(self, job: ExportJob, out: Path) -> dict[str, str]:
            return {}

    registry = Registry()
    for kind in PLUGIN_KINDS:
        registry.kind(kind).add(Entry("toy", Exports(), "", "toys", "toys", Origin(__file__, 1)))
        with contextlib.suppress(PluginError, AttributeError):  # an exporter is nothing of another kind
            assert isinstance(conformance(kind, "toy", registry), Conformance)
