"""The figures that the documents report: their own arithmetic, what does not fit, and the records of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tilbench.cli import cli
from tilbench.config.model import ModelSpec, Reported
from tilbench.config.references import parse_spec
from tilbench.errors import ConfigError
from tilbench.evaluation.reported import reported_records, write_reported
from tilbench.evaluation.verify import verify_records
from tilbench.loader import load_plugins
from tilbench.registry import Registry
from tilbench.resolve.specs import load_spec
from tilbench.results.record import Record
from tilbench.results.store import RecordStore
from tilbench.results.table import make_board
from tilbench_trainers.optim.schedule import learning_rate

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "leaderboard" / "records" / "reported"
TIL, GEMMA, ONE, V1, V2, NANO = (
    "til-mini-1b",
    "gemma-3-kazakh-qlora",
    "1gpu-small-en-it",
    "turkish-v1",
    "turkish-v2",
    "auto-g-nano-1b",
)
BASE = "unsloth/gemma-3-4b-it-unsloth-bnb-4bit"


def loaded() -> Registry:
    """Return the plugin folders of this checkout, whatever is installed."""
    names = sorted(folder.parent.name for folder in (ROOT / "plugins").glob("tilbench_*/__init__.py"))
    points = [(EntryPoint(name.removeprefix("tilbench_"), name, "tilbench"), "tilbench") for name in names]
    return load_plugins(entry_points=points).registry


REGISTRY = loaded()
MODELS = REGISTRY.models.names()


def spec_of(label: str) -> ModelSpec:
    return load_spec(parse_spec(label), REGISTRY)


SPECS = {name: spec_of(name) for name in MODELS}


def some(name: str, table: str, metric: str, on: str | None = None, model: str | None = None) -> list[Reported]:
    """Return the figures of one metric in one table of one document."""
    return [
        figure
        for figure in SPECS[name].reported
        if (figure.table, figure.metric) == (table, metric)
        and (on is None or figure.on == on)
        and (model is None or figure.model == model)
    ]


def one(name: str, table: str, metric: str, on: str = "", model: str = "") -> Reported:
    (figure,) = some(name, table, metric, on, model)
    return figure


def value(name: str, table: str, metric: str, on: str = "", model: str = "") -> float:
    return one(name, table, metric, on, model).value


def rounds_to(exact: float, printed: float, digits: int) -> bool:
    """Return whether `exact`, rounded to so many digits, is what is printed."""
    return float(f"{exact:.{digits - 1}e}") == float(f"{printed:.{digits - 1}e}")


# Arithmetic that holds


def test_macro_bpb_is_the_mean_of_five_domains() -> None:
    bpb = {figure.on: figure.value for figure in some(TIL, "", "bpb")}
    macro = bpb.pop("macro")
    assert len(bpb) == 5
    assert round(sum(bpb.values()) / 5, 4) == macro == 0.6207


def test_perplexities_are_exponentials_of_their_losses() -> None:
    losses = {figure.on: figure.value for figure in some(ONE, "", "loss") if figure.step == 8600}
    perplexities = some(ONE, "", "perplexity")
    assert {figure.on for figure in perplexities} == losses.keys() == {"mixed", "en", "it"}
    for figure in perplexities:
        loss = losses[figure.on]
        assert math.exp(loss - 5e-5) <= figure.value <= math.exp(loss + 5e-5)
        assert round(math.log(figure.value), 4) == loss
    curve = {figure.step: figure.value for figure in some(V1, "curve", "loss", "round 1")}
    for figure in some(V1, "curve", "perplexity", "round 1"):
        digits = 2 if figure.value > 1000 else len(f"{figure.value:.0f}")
        low, high = (math.exp(curve[figure.step] + shift) for shift in (-5e-3, 5e-3))
        assert float(f"{low:.{digits - 1}e}") <= figure.value <= float(f"{high:.{digits - 1}e}"), figure.step


def test_the_perplexity_of_a_probe_is_one_over_its_probability() -> None:
    probabilities = {figure.on: figure.value for figure in some(ONE, "probes", "probability")}
    perplexities = {figure.on: figure.value for figure in some(ONE, "probes", "perplexity")}
    ranks = {figure.on: figure.value for figure in some(ONE, "probes", "rank")}
    assert probabilities.keys() == perplexities.keys() == ranks.keys() == {"Rome", "be", "Roma", "essere"}
    for word, probability in probabilities.items():
        assert perplexities[word] == pytest.approx(1 / probability, rel=1e-12)
        assert probability < 0.5
        assert ranks[word] <= 1 / probability  # what is likelier has its share too
        assert torch.tensor(probability).bfloat16().item() == probability  # so it was computed in bfloat16


@pytest.mark.parametrize("model", ["", "turkish-v1:round-2"])
def test_a_round_costs_its_hours(model: str) -> None:
    price = value(V1, "cost", "price", "H100 NVL at RunPod")
    assert value(V1, "rounds", "cost", model=model) == round(value(V1, "rounds", "wall_time", model=model) * price, 2)


def test_the_rounds_sum_to_the_bill() -> None:
    assert sum(figure.value for figure in some(V1, "rounds", "wall_time")) == value(
        V1, "cost", "wall_time", "all rounds"
    )
    bill = value(V1, "cost", "cost", "all rounds")
    assert round(sum(figure.value for figure in some(V1, "rounds", "cost")), 2) == bill


def test_tokens_sum() -> None:
    assert sum(source.tokens or 0 for source in SPECS[V1].data) == value(V1, "corpus", "tokens", "round 1")
    domains = some(TIL, "corpus", "tokens")
    typed = {source.dataset.split("/")[1]: source.tokens for source in SPECS[TIL].data}
    assert {figure.on: figure.value for figure in domains} == typed
    rounding = 0.05e9 * (len(domains) + 1)
    assert abs(sum(figure.value for figure in domains) - value(TIL, "training", "tokens")) <= rounding
    total = sum(figure.value for figure in domains)
    for figure in some(TIL, "corpus", "share"):
        assert round(value(TIL, "corpus", "tokens", figure.on) / total, 2) == figure.value
    assert sum(figure.value for figure in some(V1, "tests", "tests") if figure.on) == value(V1, "tests", "tests") == 60


@pytest.mark.parametrize(
    ("name", "table", "digits"), [(TIL, "training", 2), (ONE, "training", 6), (NANO, "training", 6)]
)
def test_tokens_per_step(name: str, table: str, digits: int) -> None:
    recipe = SPECS[name].recipe
    assert recipe is not None
    assert rounds_to(recipe.tokens_per_step, value(name, table, "tokens_per_step"), digits)


def test_tokens_are_steps_times_tokens_per_step() -> None:
    def read(label: str) -> int:
        recipe = spec_of(label).recipe
        assert recipe is not None
        return recipe.steps * recipe.tokens_per_step

    assert read(ONE) == value(ONE, "training", "tokens", "seen by step 8600")
    tail = read(ONE) - read(f"{ONE}:stable")
    assert tail == value(ONE, "training", "tokens", "seen from step 8000 to 8600")
    for label, printed, digits in (
        (TIL, value(TIL, "training", "tokens"), 3),
        (NANO, value(NANO, "training", "tokens"), 3),
        (f"{V1}:round-2", value(V1, "rounds", "tokens", model=f"{V1}:round-2"), 4),
        (V2, value(V2, "training", "tokens"), 3),
    ):
        assert rounds_to(read(label), printed, digits), label
    assert 3.27e9 <= read(V1) < 3.28e9  # printed as 3.27B, cut off
    assert value(V1, "rounds", "tokens") == 3.27e9


def test_hours_are_tokens_by_their_rate() -> None:
    for label in (V1, f"{V1}:round-2", f"{V1}:round-2.5"):
        recipe, model = spec_of(label).recipe, "" if label == V1 else label
        assert recipe is not None
        rate = some(V1, "curve", "tokens_per_second", model=model)[-1].value
        hours = value(V1, "rounds", "wall_time", model=model)
        assert recipe.steps * recipe.tokens_per_step / rate / 3600 == pytest.approx(hours, rel=0.025)
        seconds = value(V1, "rounds", "step_time", model=model) / 1000
        assert recipe.steps * seconds / 3600 == pytest.approx(hours, rel=0.03)


def test_standard_errors_are_binomial() -> None:
    exams = some(GEMMA, "", "acc")
    assert len(exams) == 22
    for figure in exams:  # lm-eval's: the sample's standard deviation over √n
        assert figure.n
        assert math.sqrt(figure.value * (1 - figure.value) / (figure.n - 1)) == pytest.approx(figure.stderr, abs=6e-5)
        assert figure.chance == pytest.approx(1 / 12)
        assert round(figure.value * figure.n) / figure.n == pytest.approx(figure.value, abs=6e-5)


def test_fertility_is_tokens_by_words() -> None:
    tokens = {(figure.on, figure.model): figure for figure in some(GEMMA, "tokenizers", "tokens")}
    fertility = some(GEMMA, "tokenizers", "fertility")
    assert len(fertility) == len(tokens) == 5
    for figure in fertility:
        assert figure.n
        assert figure.n == tokens[figure.on, figure.model].n
        digits = 2 if figure.model == "gemma-2-9b" else 6
        assert round(tokens[figure.on, figure.model].value / figure.n, digits) == figure.value


def test_parameters_add_up() -> None:
    parts = ("embedding", "attention", "feed-forward", "norms")
    assert sum(value(V1, "parameters", "parameters", part) for part in parts) == SPECS[V1].parameters
    assert value(V1, "parameters", "parameters") == SPECS[V1].parameters
    layer = value(V2, "parameters", "parameters", "layer")
    assert layer == sum(value(V2, "parameters", "parameters", f"{part} of a layer") for part in parts[1:])
    assert 12 * layer + 64_000 * 512 + 512 == SPECS[V2].parameters
    for name, table, digits in ((TIL, "training", 4), (V2, "parameters", 3)):
        assert rounds_to(SPECS[name].parameters or 0, value(name, table, "parameters"), digits)
    for name in (ONE, NANO):
        assert value(name, "training", "parameters") == SPECS[name].parameters


def test_the_smoke_test_judged_all_of_its_texts() -> None:
    verdicts = [one(NANO, "", verdict) for verdict in ("ok", "weak", "fail")]
    assert sum(figure.value for figure in verdicts) == 12
    assert {figure.n for figure in verdicts} == {12}


def test_round_2_has_the_rates_of_228000_steps_counted_from_0() -> None:
    spec = spec_of(f"{V1}:round-2")
    figures = some(V1, "curve", "learning_rate", model=f"{V1}:round-2")
    assert len(figures) == 5
    for figure in figures:
        assert rounds_to(rate_at(spec, figure), figure.value * 1e-4, 2)


# What does not fit


def rate_at(spec: ModelSpec, figure: Reported) -> float:
    """Return the learning rate of the recipe at the step of a figure."""
    assert spec.recipe is not None
    assert figure.step is not None
    recipe = spec.recipe
    return learning_rate(figure.step, recipe.steps, recipe.optimizer.learning_rate, recipe.schedule)


def misfits() -> Iterator[Reported]:
    """Yield the figures that break a relation which the documents themselves state or imply."""
    yield from _misfits_of_til_mini()
    yield from _misfits_of_gemma()
    yield from _misfits_of_one_gpu()
    yield from _misfits_of_turkish()
    yield from _misfits_of_auto_g_nano()


def _misfits_of_til_mini() -> Iterator[Reported]:
    density = one(TIL, "training", "tokens_per_parameter")
    if not rounds_to(value(TIL, "training", "tokens") / value(TIL, "training", "parameters"), density.value, 2):
        yield density


def _misfits_of_gemma() -> Iterator[Reported]:
    adapter = {figure.on: figure for figure in some(GEMMA, "", "acc", model="")}
    base = {figure.on: figure for figure in some(GEMMA, "", "acc", model=BASE)}
    for on, figure in adapter.items():
        if figure.value < base[on].value:  # the text: in line with it
            yield figure
    for figure in base.values():
        if figure.value < 1 / 4:
            yield figure
    table = {figure.on: figure.value for figure in adapter.values()}
    average = one(GEMMA, "second-list", "acc", "average of the exams")
    for figure in some(GEMMA, "second-list", "acc"):
        if figure is not average and figure.value != table[figure.on]:
            yield figure
    if not rounds_to(sum(table.values()) / len(table), average.value, 2):
        yield average
    for figure in some(GEMMA, "candidates", "acc"):
        assert figure.chance
        if (figure.model == "random" and figure.value != figure.chance) or figure.value < figure.chance:
            yield figure
    bleu = one(GEMMA, "base", "bleu", "KazParC", BASE)
    if bleu.value + value(GEMMA, "base", "bleu_taken_off", "KazParC", BASE) == 100:  # references against themselves
        yield bleu
    trainable = one(GEMMA, "failed-run", "trainable_parameters")
    if trainable.value == value(GEMMA, "failed-run", "batch") * value(GEMMA, "failed-run", "accumulation"):
        yield trainable


def _misfits_of_one_gpu() -> Iterator[Reported]:
    losses = {figure.on: figure for figure in some(ONE, "", "loss") if figure.step == 8600}
    tokens = {part: value(ONE, "training", "tokens", f"train split, {part}") for part in ("en", "it")}
    english = tokens["en"] / sum(tokens.values())
    means = [english * losses["en"].value + (1 - english) * losses["it"].value]
    means.append((losses["en"].value + losses["it"].value) / 2)
    means.append(sum(figure.value for figure in some(ONE, "sources", "loss")) / 7)
    if not any(rounds_to(mean, losses["mixed"].value, 5) for mean in means):
        yield losses["mixed"]
    whole = one(ONE, "training", "tokens", "train split")
    if whole.value != sum(tokens.values()):
        yield whole


def _misfits_of_turkish() -> Iterator[Reported]:
    for label in (V1, f"{V1}:round-2", f"{V1}:round-2.5"):
        spec = spec_of(label)
        for figure in some(V1, "curve", "learning_rate", model="" if label == V1 else label):
            if not rounds_to(rate_at(spec, figure), figure.value * 1e-4, 3 if label == V1 else 2):
                yield figure
    price = value(V1, "cost", "price", "H100 NVL at RunPod")
    for cost in some(V1, "rounds", "cost"):
        if round(value(V1, "rounds", "wall_time", model=cost.model) * price, 2) != cost.value:
            yield cost
    bill = one(V1, "cost", "cost", "all rounds")
    if round(value(V1, "cost", "wall_time", "all rounds") * price, 2) != bill.value:
        yield bill
    for first in some(V1, "rounds", "first_step"):
        recipe = spec_of(first.model).recipe
        assert recipe is not None
        steps = value(V1, "rounds", "last_step", model=first.model) - (first.value - 1 if first.value else 0)
        if steps != recipe.steps:
            yield first
    size = one(V1, "parameters", "parameters", "as the experiment log says")
    if not rounds_to(SPECS[V1].parameters or 0, size.value, 2):
        yield size
    multiple, tokens = one(V1, "cost", "chinchilla_multiple"), value(V1, "rounds", "tokens", model=f"{V1}:round-2")
    if not rounds_to(tokens / (20 * (SPECS[V1].parameters or 0)), multiple.value, 3):
        yield multiple
    memory = one(V1, "machines", "memory", "where batch 32 of 2048 ran out of memory")
    if memory.value != value(V1, "machines", "memory", "H100 NVL"):
        yield memory
    cap = one(V1, "corpus", "raw_size", "Wikipedia's cap")
    if cap.value != value(V1, "corpus", "raw_size", "Wikipedia in round 1"):
        yield cap
    held = value(V1, "corpus", "tokens", "round 1")
    for on, size_in_bytes in (("token file of round 1", 2 * held), ("a checkpoint", 12 * (SPECS[V1].parameters or 0))):
        file = one(V1, "corpus", "file_size", on)
        if round(size_in_bytes / 1e6) != file.value:
            assert round(size_in_bytes / 2**20) == file.value
            yield file
    windows = one(V1, "corpus", "windows", "starting positions")
    if not rounds_to(held - 512, windows.value, 2):
        yield windows
    tried = one(V1, "tokenizer", "variants", "tried")
    if tried.note.partition("named are seven: ")[2].count("K") + tried.note.count(", v") != tried.value:
        yield tried
    expected = one(V2, "sft", "pairs", "expected, at least")
    if value(V2, "sft", "pairs", "made") < expected.value:
        yield expected


def _misfits_of_auto_g_nano() -> Iterator[Reported]:
    for file in some(NANO, "files", "file_size"):
        wide = 4 if file.note == "fp32" else 2
        if round(wide * (SPECS[NANO].parameters or 0) / 1e9, 1) != file.value:
            yield file


def test_exactly_the_figures_that_do_not_fit_carry_a_doubt() -> None:
    def named(figure: Reported) -> tuple[object, ...]:
        return figure.table, figure.metric, figure.on, figure.model, figure.step, figure.value

    doubted = [named(figure) for spec in SPECS.values() for figure in spec.reported if figure.doubt]
    found = [named(figure) for figure in misfits()]
    assert len(set(found)) == len(found) > 40
    assert sorted(map(str, found)) == sorted(map(str, doubted))


def test_the_documents_contradictions_are_among_them() -> None:
    found = list(misfits())
    assert sum(figure.metric == "acc" and figure.table == "" and not figure.model for figure in found) == 11
    assert {figure.value for figure in found} >= {92.83, 63.08, 37.43435, 4.7964, 6899597399, 573, 50001}


# Records


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folders") / "reported"
    write_reported((), REGISTRY, out)
    return out


def test_the_published_records_are_those_of_the_specs(written: Path) -> None:
    fix = "run: rm -r leaderboard/records/reported; tilbench records reported --out leaderboard/records/reported"
    new = {path.relative_to(written): path.read_bytes() for path in RecordStore(written).paths()}
    old = {path.relative_to(PUBLISHED): path.read_bytes() for path in RecordStore(PUBLISHED).paths()}
    assert new.keys() == old.keys(), fix
    assert [path for path, text in new.items() if text != old[path]] == [], fix


def records(folder: Path) -> list[Record]:
    return [record for _, record in RecordStore(folder).records()]


def test_every_figure_is_one_record(written: Path) -> None:
    figures = [(spec, figure) for spec in SPECS.values() for figure in spec.reported]
    made = [record for spec in SPECS.values() for record in reported_records(spec)]
    assert len(figures) == len(made) == len(records(written))
    for (spec, figure), record in zip(figures, made, strict=True):
        assert record.source == "reported"
        assert record.citation == spec.document != ""
        assert record.headline is not None
        assert record.headline.value == figure.value
        assert (record.headline.stderr, record.headline.chance) == (figure.stderr, figure.chance)
        assert (record.headline.unit, record.headline.direction) == (figure.unit, figure.direction)
        assert [note for note in (figure.note, figure.doubt) if note] == [
            note.removeprefix("In doubt: ") for note in record.notes
        ]
        assert not record.items
        assert record.task.suite.startswith(f"reported-{spec.name}")


def test_records_hold_and_so_does_a_folder_of_their_folder(written: Path) -> None:
    for folder in (written, written.parent):
        verdicts = list(verify_records(folder, REGISTRY))
        assert len(verdicts) >= len(records(written)) > 0
        assert not [verdict for verdict in verdicts if verdict.fault]


def test_no_task_is_that_of_a_measured_record_or_of_another_document(written: Path) -> None:
    found = records(written)
    by_task: dict[str, set[tuple[str, str]]] = {}
    for record in found:
        by_task.setdefault(record.task.fingerprint, set()).add((record.task.suite, record.task.name))
    assert all(len(names) == 1 for names in by_task.values())
    assert len({name for names in by_task.values() for name in names}) == len(by_task)
    suites = {path.stem for path in (ROOT / "suites").glob("*.yaml")}
    assert not suites & {record.task.suite for record in found}


def test_the_board_says_that_they_are_reported(written: Path) -> None:
    board = make_board(RecordStore(written).records())
    assert board.sources == ("reported",)
    assert all(column.reported and column.label.endswith("(reported)") for column in board.columns)
    exams = board.only(suites=[f"reported-{GEMMA}"])
    assert [row.name for row in exams.rows] == [GEMMA, BASE]
    assert len(exams.columns) == 11
    assert all(len(row.cells) == 11 for row in exams.rows)
    assert all(column.chance == pytest.approx(1 / 12) for column in exams.columns)


def test_a_figure_that_stands_there_twice_is_refused() -> None:
    spec = SPECS[NANO]
    twice = spec.model_copy(update={"reported": [*spec.reported, spec.reported[0]]})
    with pytest.raises(ConfigError, match=r"reported has ok on nothing of auto-g-nano-1b twice .* tell them apart"):
        reported_records(twice)


def test_the_command_writes_those_of_the_models_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["records", "reported", TIL, "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.output)) == len(SPECS[TIL].reported)
    assert {record.model.name for record in records(tmp_path / "out")} == {TIL}
    unknown = CliRunner().invoke(cli, ["records", "reported", "til-mini", "--out", str(tmp_path / "out")])
    assert unknown.exit_code != 0
