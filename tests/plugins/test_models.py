"""The model specs of the five documents: exact counts, the documents' own arithmetic, and variants that train."""

from __future__ import annotations

import math
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from tilbench.config.model import ModelSpec, Recipe, Reported
from tilbench.config.references import parse_spec
from tilbench.data.dataset import Dataset
from tilbench.data.resolve import load_rows
from tilbench.errors import ConfigError, DataError, MissingDataset
from tilbench.loader import load_plugins
from tilbench.registry import Registry
from tilbench.run.specs import load_spec, variants
from tilbench.run.train import resolve_training, train

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
    architecture = REGISTRY.get("architectures", spec.architecture.name)
    return architecture, architecture.Config(**spec.architecture.config)


def figures(name: str, metric: str) -> dict[str, Reported]:
    found = [figure for figure in spec_of(name).reported if figure.metric == metric]
    assert len({figure.on for figure in found}) == len(found), "two figures of one metric on one thing"
    return {figure.on: figure for figure in found}


def value(name: str, metric: str, on: str = "") -> float:
    return figures(name, metric)[on].value


# Every spec and variant


@pytest.mark.parametrize("label", LABELS)
def test_names_are_registered(label: str) -> None:
    spec = spec_of(label)
    architecture, config = config_of(spec)
    family = REGISTRY.get("tokenizers", spec.tokenizer.family)
    family.Options(**spec.tokenizer.options)
    assert family.trainable or spec.tokenizer.reference
    assert architecture.parameters(config) > 0
    assert spec.languages
    assert all(tag in REGISTRY.names("languages") for tag in spec.languages)
    REGISTRY.get("hardware", spec.hardware)
    assert spec.recipe is not None
    assert spec.recipe.trainer in REGISTRY.names("trainers")
    assert spec.recipe.sequence_length <= config.max_length
    for source in spec.data:
        assert source.dataset in REGISTRY.names("datasets")
        assert not source.heldout or source.heldout in REGISTRY.names("datasets")
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
    package, file = REGISTRY.entry("models", name).resource or ("", "")
    text = (PLUGINS / package / file).read_text(encoding="utf-8")
    assert not any(sign in text for sign in ("/work", "/home", "/tmp", "/root", "C:\\"))


def test_rounds_of_turkish_v1_keep_its_count() -> None:
    for variant in ("round-2", "round-2.5"):
        spec = spec_of(f"turkish-v1:{variant}")
        architecture, config = config_of(spec)
        assert architecture.parameters(config) == spec.parameters == COUNTS["turkish-v1"]
        assert recipe_of(f"turkish-v1:{variant}").tokens_per_step == 65_536


# The documents' own arithmetic


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("til-mini-1b", 524_288),
        ("1gpu-small-en-it", 240_000),
        ("auto-g-nano-1b", 262_144),
        ("turkish-v1", 65_536),
        ("turkish-v2", 65_536),
    ],
)
def test_tokens_per_step(name: str, tokens: int) -> None:
    assert recipe_of(name).tokens_per_step == tokens


def test_training_tokens() -> None:
    def seen(name: str) -> int:
        return recipe_of(name).steps * recipe_of(name).tokens_per_step

    assert seen("til-mini-1b") / 1e9 == pytest.approx(47.0, abs=0.05)
    assert seen("1gpu-small-en-it") == value("1gpu-small-en-it", "training_tokens")
    assert value("1gpu-small-en-it", "training_tokens", "decay from step 8000 to 8600") == 600 * 240_000
    assert seen("auto-g-nano-1b") / 1e9 == pytest.approx(13.1, abs=0.05)
    assert seen("turkish-v1") / 1e9 == pytest.approx(3.27, abs=0.01)
    assert seen("turkish-v1:round-2") / 1e9 == pytest.approx(14.94, abs=0.01)
    assert seen("turkish-v2") == seen("turkish-v1:round-2")


def test_til_mini_macro_is_the_mean_of_five_domains() -> None:
    bpb = figures("til-mini-1b", "bpb")
    macro = bpb.pop("macro of the five domains")
    assert len(bpb) == 5
    assert round(sum(figure.value for figure in bpb.values()) / 5, 4) == macro.value == 0.6207


def test_til_mini_shares_are_those_of_its_tokens() -> None:
    spec = spec_of("til-mini-1b")
    total = sum(source.tokens or 0 for source in spec.data)
    assert sum(source.weight for source in spec.data) == pytest.approx(1)
    for source in spec.data:
        assert (source.tokens or 0) / total == pytest.approx(source.weight, abs=0.005)


def test_til_mini_throughput_follows_from_its_hours() -> None:
    tokens = recipe_of("til-mini-1b").steps * recipe_of("til-mini-1b").tokens_per_step
    rate = tokens / (value("til-mini-1b", "wall_time", "8 × H200") * 3600)
    assert rate == pytest.approx(value("til-mini-1b", "tokens_per_second", "8 × H200"), rel=0.01)
    share = REGISTRY.get("hardware", "h200x8").mfu(6 * COUNTS["til-mini-1b"] * rate, "bf16")
    assert share == pytest.approx(value("til-mini-1b", "mfu", "8 × H200"), abs=0.005)


@pytest.mark.parametrize("part", ["mixed", "en", "it"])
def test_perplexity_is_the_exponential_of_the_loss(part: str) -> None:
    loss = value("1gpu-small-en-it", "loss", f"validation {part}")
    perplexity = value("1gpu-small-en-it", "perplexity", f"validation {part}")
    assert math.log(perplexity) == pytest.approx(loss, abs=6e-5)


def test_probe_perplexity_is_one_over_its_probability() -> None:
    probabilities = figures("1gpu-small-en-it", "probe_probability")
    perplexities = figures("1gpu-small-en-it", "probe_perplexity")
    ranks = figures("1gpu-small-en-it", "probe_rank")
    assert probabilities.keys() == perplexities.keys() == ranks.keys()
    assert len(probabilities) == 4
    for on, probability in probabilities.items():
        assert perplexities[on].value == pytest.approx(1 / probability.value, rel=1e-4)
        assert probability.value < 0.5 or ranks[on].value == 1


def test_one_gpu_chose_the_checkpoint_of_lower_loss() -> None:
    loss = figures("1gpu-small-en-it", "loss")
    assert loss["validation mixed"].value < loss["validation mixed, step_7500"].value
    sources = [figure for on, figure in loss.items() if on.startswith("source ")]
    assert len(sources) == 7


def test_one_gpu_decays_over_its_last_600_steps_to_a_tenth() -> None:
    recipe = recipe_of("1gpu-small-en-it")
    assert round(recipe.schedule.decay * recipe.steps) == 600
    assert recipe.optimizer.learning_rate * recipe.schedule.final == pytest.approx(2e-5)


def test_turkish_parameters_add_up() -> None:
    parts = figures("turkish-v1", "parameters")
    assert parts.pop("").value == sum(part.value for part in parts.values()) == COUNTS["turkish-v1"]
    layer = value("turkish-v2", "parameters", "one layer")
    pieces = ("one layer's attention", "one layer's feed-forward", "one layer's norms")
    assert layer == sum(value("turkish-v2", "parameters", piece) for piece in pieces)
    assert 12 * layer + 64_000 * 512 + 512 == COUNTS["turkish-v2"]


def test_turkish_bills() -> None:
    rate = value("turkish-v1", "price_per_hour", "H100 NVL at RunPod")
    rounds = ("round 1", "round 2", "round 2.5")
    for name in rounds:
        assert value("turkish-v1", "wall_time", name) * rate == pytest.approx(
            value("turkish-v1", "cost", name), abs=0.011
        )
    total = sum(value("turkish-v1", "cost", name) for name in rounds)
    assert total == pytest.approx(value("turkish-v1", "cost", "all of v1"), abs=0.011)
    assert value("turkish-v1", "loss", "round 1, step 10") == pytest.approx(math.log(64_000), abs=0.01)
    tokens = sum(source.tokens or 0 for source in spec_of("turkish-v1").data)
    assert tokens == value("turkish-v1", "training_tokens", "round 1 corpus") == 99_637_036


def test_gemma_base_is_ahead_of_its_adapter_in_all_eleven_tasks() -> None:
    accuracy = figures("gemma-3-kazakh-qlora", "accuracy")
    adapter = {on.partition(",")[0]: row for on, row in accuracy.items() if on.endswith("mc, adapter")}
    adapter["mmlu_translated_kk"] = accuracy["mmlu_translated_kk, adapter"]
    base = {task: accuracy[f"{task}, base"] for task in adapter}
    assert len(adapter) == 11
    assert all(base[task].value >= adapter[task].value for task in adapter)
    for rows in (adapter, base):
        assert rows["kk_biology_unt_mc"].value == rows["kk_unified_national_testing_mc"].value
        for row in rows.values():  # the printed error is that of the questions which the tasks kept
            assert row.n is not None
            assert math.sqrt(row.value * (1 - row.value) / (row.n - 1)) == pytest.approx(row.stderr, abs=6e-5)
    second = {on: row for on, row in accuracy.items() if on.endswith("second list")}
    assert len(second) == 4
    assert all(row.value != adapter[on.partition(",")[0]].value for on, row in second.items())


def test_gemma_fertility_is_tokens_by_words() -> None:
    fertility, tokens = (figures("gemma-3-kazakh-qlora", metric) for metric in ("fertility", "tokens"))
    assert fertility.keys() == tokens.keys()
    assert len(fertility) == 5
    for on, figure in fertility.items():
        assert figure.n
        digits = 2 if figure.value == 3.17 else 6
        assert round(tokens[on].value / figure.n, digits) == figure.value


def test_gemma_bleu_is_marked_as_no_measurement() -> None:
    (bleu,) = figures("gemma-3-kazakh-qlora", "bleu").values()
    assert bleu.value + 62.56565 == pytest.approx(100)
    assert bleu.note.startswith("not a measurement")


def test_auto_g_nano_checks_all_of_its_generations() -> None:
    judged = [
        value("auto-g-nano-1b", f"smoke_test_{verdict}", "6 prompts × 2 temperatures")
        for verdict in ("ok", "weak", "fail")
    ]
    assert judged == [9, 3, 0]
    assert sum(judged) == 12


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
    for name, dataset in REGISTRY.all("datasets"):
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
    (row,) = load_rows(name, REGISTRY.get("datasets", name), tmp_path).rows
    assert (row.choices, row.answer) == (("а", "ә", "б", "в"), 1)  # type: ignore[union-attr]
