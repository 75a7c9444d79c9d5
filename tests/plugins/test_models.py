"""The model specs of the five papers: exact counts, stages that follow each other, and variants that train.

What the documents report is in test_reported.
"""

from __future__ import annotations

import json
import re
import shlex
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner

from tilbench.cli import cli
from tilbench.config.model import ModelSpec, Recipe
from tilbench.config.references import parse_spec
from tilbench.data.dataset import Dataset
from tilbench.data.resolve import load_rows
from tilbench.errors import ConfigError, DataError, MissingDataset, Unsupported
from tilbench.loader import load_plugins
from tilbench.registry import Registry
from tilbench.resolve.models import run_folder
from tilbench.resolve.specs import load_spec, variants
from tilbench.training.branch import resolve_branch
from tilbench.training.fit import train
from tilbench.training.resolve import resolve_training
from tilbench_trainers.optim.schedule import learning_rate

PLUGINS = Path(__file__).parents[2] / "plugins"


def loaded() -> Registry:
    """Return the plugin folders of this checkout, whatever is installed."""
    names = sorted(folder.parent.name for folder in PLUGINS.glob("tilbench_*/__init__.py"))
    points = [(EntryPoint(name.removeprefix("tilbench_"), name, "tilbench"), "tilbench") for name in names]
    return load_plugins(entry_points=points).registry


REGISTRY = loaded()
COUNTS = {
    "til-mini-1b": 956_337_408,
    "1gpu-small-en-it": 136_128_000,
    "turkish-v1": 24_697_088,
    "turkish-v2": 67_580_416,
    "auto-g-nano-1b": 1_050_002_688,
    "gemma-3-kazakh-qlora": 3_880_263_168,
}
LABELS = [label for name in COUNTS for label in (name, *(f"{name}:{variant}" for variant in variants(name, REGISTRY)))]
TINY = [f"{name}:tiny" for name in COUNTS]


def spec_of(label: str) -> ModelSpec:
    return load_spec(parse_spec(label), REGISTRY)


def recipe_of(label: str) -> Recipe:
    recipe = spec_of(label).recipe
    assert recipe is not None
    return recipe


def config_of(spec: ModelSpec) -> tuple[Any, Any]:
    architecture = REGISTRY.architectures.get(spec.architecture.name)
    return architecture, architecture.Config(**spec.architecture.config)


# Every spec and variant


@pytest.mark.parametrize("label", LABELS)
def test_names_are_registered(label: str) -> None:
    spec = spec_of(label)
    architecture, config = config_of(spec)
    family = REGISTRY.tokenizers.get(spec.tokenizer.family)
    family.Options(**spec.tokenizer.options)
    assert family.trainable or spec.tokenizer.reference
    assert architecture.parameters(config) > 0
    assert spec.languages
    assert all(tag in REGISTRY.languages for tag in spec.languages)
    REGISTRY.hardware.get(spec.hardware)
    assert spec.recipe is not None
    assert spec.recipe.trainer in REGISTRY.trainers
    assert spec.recipe.sequence_length <= config.max_length
    for source in spec.data:
        assert source.dataset in REGISTRY.datasets
        assert not source.heldout or source.heldout in REGISTRY.datasets
    assert all(figure.value >= 0 for figure in spec.reported)


@pytest.mark.parametrize("name", COUNTS)
def test_full_size_has_exactly_the_parameters_of_the_document(name: str) -> None:
    spec = spec_of(name)
    architecture, config = config_of(spec)
    with torch.device("meta"):
        module = architecture.build(config)
    assert sum(parameter.numel() for parameter in module.parameters()) == COUNTS[name]
    assert spec.parameters == architecture.parameters(config) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_no_file_names_a_machine(name: str) -> None:
    package, file = REGISTRY.models.entry(name).resource or ("", "")
    text = (PLUGINS / package / file).read_text(encoding="utf-8")
    assert not any(sign in text for sign in ("/work", "/home", "/tmp", "/root", "C:\\"))


def test_throughput_of_til_mini_follows_from_its_hours() -> None:
    spec, recipe = spec_of("til-mini-1b"), recipe_of("til-mini-1b")
    (hours,) = (figure.value for figure in spec.reported if figure.metric == "wall_time")
    rate = recipe.steps * recipe.tokens_per_step / (hours * 3600)
    share = REGISTRY.hardware.get("h200x8").mfu(6 * COUNTS["til-mini-1b"] * rate, "bf16")
    derived = next(note for note in spec.notes if note.startswith("Derived"))
    assert f"{round(rate, -3):,.0f} tokens a second" in derived
    assert f"{round(rate / 8, -3):,.0f} on each" in derived
    assert f"{share:.0%} of the dense" in derived


# Stages


STAGES = {
    "turkish-v1:round-2": "turkish-v1@50000",
    "turkish-v1:round-2.5": "turkish-v1:round-2@228000",
    "turkish-v1:sft": "turkish-v1:round-2.5@228000",
    "turkish-v2:sft": "turkish-v2@228000",
    "auto-g-nano-1b:sft": "auto-g-nano-1b@50000",
    "gemma-3-kazakh-qlora:small-sft": "gemma-3-kazakh-qlora:small@540",
}


@pytest.mark.parametrize(("label", "before"), STAGES.items())
def test_a_stage_goes_on_from_the_last_step_of_the_one_before(label: str, before: str) -> None:
    spec, earlier = spec_of(label), spec_of(before.partition("@")[0])
    name, _, step = before.partition("@")
    assert spec.base == f"{run_folder(Path('runs'), name)}@{step}"
    assert earlier.recipe is not None
    assert int(step) == earlier.recipe.steps
    assert spec.architecture.name == earlier.architecture.name
    assert spec.tokenizer.family == earlier.tokenizer.family
    (architecture, config), (_, other) = config_of(spec), config_of(earlier)
    assert architecture.parameters(config) == architecture.parameters(other)


def test_every_stage_says_what_it_goes_on_from() -> None:
    based = {label for label in LABELS if spec_of(label).base.startswith("runs/")}
    assert based == STAGES.keys()


def test_rounds_of_turkish_v1() -> None:
    for variant in ("round-2", "round-2.5"):
        spec, recipe = spec_of(f"turkish-v1:{variant}"), recipe_of(f"turkish-v1:{variant}")
        assert recipe.tokens_per_step == 65_536
        assert recipe.schedule == recipe_of("turkish-v1").schedule  # its own, from the peak again
        assert spec.data == spec_of("turkish-v2").data
    config = spec_of("turkish-v1:round-2.5").architecture.config
    assert (config["max_length"], config["dropout"]) == (2048, 0.02)
    assert recipe_of("turkish-v1:round-2.5").sequence_length == 2048
    for label in ("turkish-v1:sft", "turkish-v2:sft"):
        assert spec_of(label).architecture.config["dropout"] == 0.05


def test_a_missing_stage_before_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "turkish-rag").mkdir()
    for source in spec_of("turkish-v1:round-2").data:
        text = f"{source.dataset} birinci uzun belge.\n\n{source.dataset} ikinci uzun belge.\n"
        (tmp_path / f"{source.dataset}.txt").write_text(text, encoding="utf-8")
    training = resolve_training("turkish-v1:round-2", REGISTRY, tmp_path, ["base=runs/none@50000"])
    with pytest.raises(Unsupported, match=r"'runs/none@50000' is none; name a run's folder as base"):
        train(training, REGISTRY, tmp_path / "run", progress=False)


def test_the_stages_of_turkish_v1_train_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = (ROUND_SIZES, [*ROUND_SIZES, "recipe.sequence_length=32"], [*ROUND_SIZES, "recipe.sequence_length=64"])
    labels = ("turkish-v1", "turkish-v1:round-2", "turkish-v1:round-2.5")
    last: Path | None = None
    for label, overrides in zip(labels, sizes, strict=True):
        base = [f"base={last.parent}@3"] if last else []
        training = resolve_training(label, REGISTRY, None, [*overrides, *base])
        last = train(training, REGISTRY, run_folder(Path("runs"), label), progress=False)
    assert last is not None
    info = json.loads((last / "tilbench.json").read_text(encoding="utf-8"))
    assert len(info["lineage"]) == 2  # rounds 1 and 2


ROUND_SIZES = [
    "data=[{dataset: text/tr/train, heldout: text/tr/heldout}]",
    "hardware=cpu",
    "architecture.config.vocab_size=512",
    "architecture.config.hidden_size=32",
    "architecture.config.num_layers=1",
    "architecture.config.head_dim=4",
    "architecture.config.intermediate_size=64",
    "tokenizer.options.vocab_size=512",
    "recipe.steps=3",
    "recipe.sequence_length=32",
    "recipe.batch_size=2",
    "recipe.accumulation=1",
    "recipe.schedule.warmup=1",
    "recipe.precision=fp32",
    "recipe.compile=false",
    "recipe.sample=null",
]


def test_the_decay_branch_of_one_gpu_is_the_spec_in_two_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the README types: tilbench branch RUN@8000 --decay 600 --to 2e-5."""
    stable, whole = recipe_of("1gpu-small-en-it:stable"), recipe_of("1gpu-small-en-it")
    assert stable.steps == 8000
    assert not stable.steps % stable.keep_every  # its optimizer state is kept
    sizes = [
        "data=[{dataset: text/it/train, heldout: text/it/heldout}]",
        "architecture.config={vocab_size: 512, max_length: 32, hidden_size: 32, num_layers: 1, num_heads: 2, "
        "intermediate_size: 64}",
        "tokenizer.options.vocab_size=512",
        "hardware=cpu",
        "recipe.steps=8",
        "recipe.sequence_length=32",
        "recipe.batch_size=2",
        "recipe.accumulation=1",
        "recipe.precision=fp32",
    ]
    monkeypatch.chdir(tmp_path)
    train(resolve_training("1gpu-small-en-it:stable", REGISTRY, None, sizes), REGISTRY, Path("run"), progress=False)
    branch = resolve_branch("run@8", REGISTRY, None, decay=600, to=2e-5).recipe
    assert branch.steps == 608
    moved = [learning_rate(step, 608, branch.optimizer.learning_rate, branch.schedule) for step in range(8, 609)]
    path = [learning_rate(step, 8600, whole.optimizer.learning_rate, whole.schedule) for step in range(8000, 8601)]
    assert moved == pytest.approx(path, rel=1e-12)
    assert path[0] == pytest.approx(2e-4)
    assert path[-1] == pytest.approx(2e-5)


# Small variants

SMALL = {
    "til-mini-1b:small": 11_699_392,
    "1gpu-small-en-it:small": 8_146_944,
    "turkish-v1:small": 5_561_088,
    "turkish-v2:small": 8_308_160,
    "auto-g-nano-1b:small": 13_110_528,
    "gemma-3-kazakh-qlora:small": 8_525_632,
}


@pytest.mark.parametrize(("label", "count"), SMALL.items())
def test_small_variant_has_its_count_and_fits_one_card(label: str, count: int) -> None:
    spec, recipe = spec_of(label), recipe_of(label)
    architecture, config = config_of(spec)
    with torch.device("meta"):
        module = architecture.build(config)
    assert sum(parameter.numel() for parameter in module.parameters()) == architecture.parameters(config) == count
    assert not spec.reported
    assert spec.parameters is None
    profile = REGISTRY.hardware.get(spec.hardware)
    assert (profile.device, profile.count, recipe.devices) == ("cuda", 1, 1)
    assert 8192 <= config.vocab_size == spec.tokenizer.options["vocab_size"] <= 16384
    assert (recipe.precision, recipe.compile) == ("bf16", True)
    tokens = recipe.steps * recipe.tokens_per_step
    assert 1 <= tokens / count <= 20
    assert 6 * count * tokens / (0.2 * profile.peak_tflops["bf16"] * 1e12) < 15 * 60  # seconds at a fifth of the peak
    assert all(source.dataset.startswith("text/") and source.heldout for source in spec.data)
    assert spec.notes[0].startswith("Sized for a data directory")


@pytest.mark.parametrize("label", SMALL)
def test_small_variant_resolves_on_the_data_directory(label: str, data_dir: Path) -> None:
    result = CliRunner().invoke(cli, ["train", label, "--dry-run", "--data", str(data_dir), "--json"])
    assert result.exit_code == 0, result.output
    shown = json.loads(result.output)
    assert shown["parameters"] == SMALL[label]
    assert all(count > 300 for count in shown["sources"].values())


# Tiny variants


@pytest.mark.parametrize("label", TINY)
def test_tiny_variant_fits_two_cores(label: str) -> None:
    spec = spec_of(label)
    architecture, config = config_of(spec)
    assert architecture.parameters(config) < 2_000_000
    assert spec.hardware == "cpu"
    assert spec.parameters is None
    assert not spec.reported
    assert all(source.heldout for source in spec.data)
    assert spec.tokenizer.options["vocab_size"] == config.vocab_size
    recipe = recipe_of(label)
    assert recipe.precision == "fp32"
    assert recipe.devices == 1
    assert recipe.steps * recipe.tokens_per_step < 300_000


@pytest.mark.parametrize("label", TINY)
def test_tiny_variant_builds_and_trains(label: str, tmp_path: Path) -> None:
    training = resolve_training(
        label, REGISTRY, None, ["recipe.steps=3", "recipe.batch_size=2", "recipe.schedule.warmup=1"]
    )
    folder = train(training, REGISTRY, tmp_path / "run", progress=False)
    assert folder.name == "step-00000003"
    assert (tmp_path / "run" / "step-00000000" / "tilbench.json").is_file()


def test_adapter_corpora_drop_short_answers_and_are_refused_by_a_trainer_of_running_text(tmp_path: Path) -> None:
    (tmp_path / "gemma-kazakh").mkdir()
    for name in ("muri-it-kk", "alpaca-kk"):
        (tmp_path / "gemma-kazakh" / f"{name}.jsonl").write_text(
            '{"messages": [{"role": "user", "content": "Сәлем"}, {"role": "assistant", "content": "Сәлеметсіз бе"}]}\n',
            encoding="utf-8",
        )
    with pytest.raises(DataError, match=r"none of its 1 rows is left .* 1 with an answer of fewer than 5 words"):
        resolve_training("gemma-3-kazakh-qlora", REGISTRY, tmp_path)
    plain = ["data=[{dataset: conversations/kk}]", "recipe.trainer=pretrain", "recipe.chat=null"]
    with pytest.raises(DataError, match="holds conversations, and trainer 'pretrain' learns from documents"):
        resolve_training("gemma-3-kazakh-qlora:tiny", REGISTRY, None, plain)


def test_private_corpora_say_where_to_put_them() -> None:
    with pytest.raises(MissingDataset, match="turkish-rag/wikipedia_tr"):
        resolve_training("turkish-v1", REGISTRY, None)


def test_a_misspelled_field_is_found() -> None:
    with pytest.raises(ConfigError, match="steps"):
        load_spec(parse_spec("turkish-v1:tiny"), REGISTRY, ["recipe.step=3"])


# Data by id


def test_data_directory_ids_hold_what_they_are_registered_as(data_dir: Path) -> None:
    read = 0
    for name, dataset in REGISTRY.datasets.all():
        assert isinstance(dataset, Dataset)
        if not any(data_dir.glob(f"{name}.*")):
            continue
        rows = load_rows(name, dataset, data_dir, limit=3)
        assert rows.kind == dataset.kind
        assert rows.language
        read += 1
    assert read >= 30


def test_options_left_empty_are_no_choices(tmp_path: Path) -> None:
    name = "kk_unt_biology"
    file = tmp_path / "kz-transformers/kazakh-unified-national-testing-mc/biology.jsonl"
    file.parent.mkdir(parents=True)
    options = ", ".join(
        f'"{letter}": {option}'
        for letter, option in zip("ABCDEFGH", ['"а"', '"ә"', '"б"', '"в"', *["null"] * 4], strict=True)
    )
    file.write_text(
        f'{{"question": "Қайсысы?", {options}, "correct_answer": "B", "subject": "biology"}}\n', encoding="utf-8"
    )
    (row,) = load_rows(name, REGISTRY.datasets.get(name), tmp_path).rows
    assert (row.choices, row.answer) == (("а", "ә", "б", "в"), 1)  # type: ignore[union-attr]


# What their pages say


PAGES = sorted({PLUGINS / REGISTRY.models.entry(name).resource[0] / "README.md" for name in COUNTS})  # type: ignore[index]


def lines_of(page: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_every_command_of_a_models_page_is_one(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(page)
    (tmp_path / "DIR").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(lines) >= 4
    for line in lines:
        program, name, *arguments = shlex.split(line)
        assert program == "tilbench"
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, name
        given = command.make_context(name, list(arguments)).params  # parses, and refuses what the command does not take
        if name == "train":
            load_spec(parse_spec(given["spec"]), REGISTRY, given["overrides"])
        if name == "run":
            assert (PLUGINS.parent / given["suite"]).is_file()


@pytest.mark.parametrize("name", COUNTS)
def test_a_models_page_names_its_stages_its_count_and_its_records(name: str) -> None:
    package, _ = REGISTRY.models.entry(name).resource or ("", "")
    text = (PLUGINS / package / "README.md").read_text(encoding="utf-8")
    assert f"{COUNTS[name]:,}" in text
    assert re.search(rf"tilbench records reported [\w .-]*{re.escape(name)}", text)
    trained = {shlex.split(line)[2] for line in lines_of(PLUGINS / package / "README.md") if "tilbench train" in line}
    trained |= set(re.findall(r"^torchrun .* -m tilbench train (\S+)", text, flags=re.MULTILINE))
    in_one = {"1gpu-small-en-it"}  # the whole path, which the page names in a sentence
    assert {name, *(f"{name}:{variant}" for variant in variants(name, REGISTRY))} <= trained | in_one
