import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import regex
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tilbench.data.rows import Document, Pair
from tilbench.errors import ConfigError, DataError, Refused
from tilbench.kinds.language import Cues, Language
from tilbench.kinds.metric import ItemScore, Metric, TaskContext
from tilbench.kinds.requests import Generated, Generation
from tilbench.loader import load_plugins
from tilbench.text.language_classes import profile_text
from tilbench_metrics_generation.translation.metric import Translation, TranslationSettings

CUES = Cues(passage="Мәтін", question="Сұрақ", options="Нұсқалар", answer="Жауап")
KAZAKH = Language(
    tag="kk-Cyrl", name="Kazakh", native_name="Қазақша", script="Cyrl", alphabet="аәбвгғқңөұүһі", cues=CUES
)
PAIRS = [
    Pair("p1", "The weather is warm today.", "Бүгін күн жылы."),
    Pair("p2", "My brother goes to school.", "Менің інім мектепке барады."),
    Pair("p3", "The book is on the table.", "Кітап үстелдің үстінде жатыр."),
    Pair("p4", "We drink tea in the evening.", "Біз кешке шай ішеміз."),
]
HYPOTHESES = ["Бүгін күн суық.", "Інім мектепке барады.", "Кітап үстелде.", "Біз кешке шай ішеміз."]
TEXTS = st.text(alphabet="абАБк ғ.,", max_size=20)


def metric(context: TaskContext | None = None, **given: Any) -> Translation:
    return Translation(TranslationSettings(**given), context or TaskContext(KAZAKH))


def scored(made: Translation, hypotheses: Sequence[str], pairs: Sequence[Pair] = PAIRS) -> list[ItemScore]:
    return [made.score(pair, [Generated(text, 1, complete=True)]) for pair, text in zip(pairs, hypotheses, strict=True)]


REGISTERED: Sequence[Language] = [each for _, each in load_plugins().registry.languages.all() if not each.domain]
WITH_PROFILE = [each for each in REGISTERED if each.profile]
REAL = next(each for each in REGISTERED if each.tag == "kk-Cyrl")
RUSSIAN = ["Сегодня на улице очень тепло.", "Мой брат каждый день ходит в школу.", "Книга лежит на столе у окна."]
KARAKALPAK = "Qaraqalpaqstan Respublikası Ózbekstan quramındaǵı suveren respublika bolıp esaplanadı."
CRIMEAN_TATAR = "Qırım yarımadası Qara deñizniñ şimaliy yalısında yerleşe ve pek dülber bir yerdir."


def test_it_is_a_metric() -> None:
    assert isinstance(metric(), Metric)


def test_the_prompt_to_the_character() -> None:
    (request,) = metric().requests(PAIRS[0])
    assert isinstance(request, Generation)
    assert request.prompt == "Мәтін: The weather is warm today.\nҚазақша:"
    assert request.stop == ("\n",)
    assert request.decoding.temperature == 0


def test_solved_examples_come_before_and_are_never_the_row() -> None:
    context = TaskContext(KAZAKH, PAIRS, shots=3)
    made = metric(context, instruction="Қазақ тіліне аударыңыз.", template="Ағылшынша: {source}\n{language}:")
    (request,) = made.requests(PAIRS[0])
    assert isinstance(request, Generation)
    first, *solved, last = request.prompt.split("\n\n")
    assert first == "Қазақ тіліне аударыңыз."
    assert last == f"Ағылшынша: {PAIRS[0].source}\nҚазақша:"
    assert {*solved} == {f"Ағылшынша: {pair.source}\nҚазақша: {pair.target}" for pair in PAIRS[1:]}


def test_every_row_is_drawn_with_a_seed_of_its_own() -> None:
    seeds = {metric(TaskContext(KAZAKH, seed=seed)).requests(pair)[0] for pair in PAIRS for seed in (0, 1)}
    assert len({request.seed for request in seeds if isinstance(request, Generation)}) == 8


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Аудар:", "no {source}"),
        ("{source} {target}:", "{target} is no field"),
        ("{source!r}:", "is no field"),
        ("{source}: ", "ends in a space"),
        ("{source", "expected '}'"),
    ],
)
def test_templates_that_cannot_work_are_refused(template: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TranslationSettings(template=template)


def test_other_rows_and_no_language_are_refused() -> None:
    with pytest.raises(DataError, match="scores pairs, not documents"):
        metric().requests(Document("d", "мәтін"))
    with pytest.raises(ConfigError, match="'language'"):
        metric(TaskContext())


def test_a_perfect_translation_scores_100_and_a_disjoint_one_0() -> None:
    made = metric(refuse_above={"equal": 1}, ter=True)
    values = made.aggregate(scored(made, [pair.target for pair in PAIRS]))
    assert [round(values[name].value, 9) for name in ("chrfpp", "bleu", "ter")] == [100, 100, 0]
    values = made.aggregate(scored(made, ["xyz" for _ in PAIRS]))
    assert [values[name].value for name in ("chrfpp", "bleu", "ter")][:2] == [0, 0]


@given(st.lists(st.tuples(TEXTS, TEXTS.filter(str.strip)), min_size=1, max_size=6))
@settings(max_examples=60)
def test_scores_are_those_of_sacrebleu(texts: list[tuple[str, str]]) -> None:
    never = {"equal": 1, "empty": 1, "off_target": 1}
    made = metric(refuse_above=never, ter=True)
    pairs = [Pair(str(index), "?", reference) for index, (_, reference) in enumerate(texts)]
    stored = json.loads(json.dumps([dict(score.values) for score in scored(made, [text for text, _ in texts], pairs)]))
    scores = [ItemScore(pair.id, pair.cluster, values) for pair, values in zip(pairs, stored, strict=True)]
    values = metric(refuse_above=never, ter=True).aggregate(scores)
    hypotheses, references = [text.strip() for text, _ in texts], [[reference for _, reference in texts]]
    assert values["bleu"].value == sacrebleu.corpus_bleu(hypotheses, references).score
    assert values["chrfpp"].value == sacrebleu.corpus_chrf(hypotheses, references, word_order=2).score
    assert values["ter"].value == sacrebleu.corpus_ter(hypotheses, references).score


def test_settings_reach_sacrebleu() -> None:
    made = metric(tokenize="char", lowercase=True)
    values = made.aggregate(scored(made, [text.upper() for text in HYPOTHESES]))
    wanted = sacrebleu.corpus_bleu(HYPOTHESES, [[pair.target for pair in PAIRS]], tokenize="char", lowercase=True)
    assert values["bleu"].value == pytest.approx(wanted.score, abs=1e-12)


def test_the_signatures_are_notes_of_the_record() -> None:
    chrf, bleu, untold = metric(tokenize="intl").notes
    assert chrf.startswith("chrfpp: nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:")
    assert bleu.startswith("bleu: nrefs:1|case:mixed|eff:no|tok:intl|smooth:exp|version:")
    assert untold == "off_target_rate: none; kk-Cyrl has no profile: no text is said to be in another language"
    *_, languages = metric(TaskContext(REAL)).notes
    assert languages.startswith("off_target_rate: another language is 4 times as likely as kk-Cyrl by py3langid 0.4")


@pytest.mark.parametrize("lowercase", [False, True])
def test_ter_ignores_case_as_sacrebleu_does(lowercase: bool) -> None:
    made = metric(ter=True, lowercase=lowercase, refuse_above={"equal": 1})
    values = made.aggregate(scored(made, [pair.target.upper() for pair in PAIRS]))
    assert values["ter"].value == 0
    assert (values["bleu"].value == pytest.approx(100)) == lowercase
    default = sacrebleu.TER()
    default.corpus_score(["а"], [["а"]])
    assert f"ter: {default.get_signature()}" in made.notes
    assert "case:lc|tok:tercom|norm:no|punct:yes|asian:no" in str(default.get_signature())


def test_intervals_hold_the_score_and_narrow_with_more_segments() -> None:
    made = metric()

    def width(times: int) -> float:
        pairs = [Pair(f"{pair.id}-{time}", pair.source, pair.target) for time in range(times) for pair in PAIRS]
        value = made.aggregate(scored(made, HYPOTHESES * times, pairs))["chrfpp"]
        assert value.low is not None
        assert value.high is not None
        assert value.low < value.value < value.high
        return value.high - value.low

    assert width(25) < width(1) / 3


# What must not be scored


def test_references_in_the_place_of_hypotheses_are_not_scored() -> None:
    made = metric()
    with pytest.raises(Refused, match="4 of 4 hypotheses are the reference itself"):
        made.aggregate(scored(made, [f" {pair.target.replace(' ', '  ')}\n" for pair in PAIRS]))


def test_empty_hypotheses_are_not_scored() -> None:
    made = metric()
    with pytest.raises(Refused, match="3 of 4 hypotheses are empty"):
        made.aggregate(scored(made, ["", " ", "\t", HYPOTHESES[3]]))


def test_hypotheses_in_another_language_are_not_scored() -> None:
    made = metric(TaskContext(REAL))
    with pytest.raises(Refused, match="3 of 4 hypotheses are in another language than kk-Cyrl"):
        made.aggregate(scored(made, [*RUSSIAN, HYPOTHESES[3]]))


def test_one_odd_hypothesis_is_counted_and_the_rest_scored() -> None:
    made = metric(TaskContext(REAL))
    values = made.aggregate(scored(made, ["", RUSSIAN[1], PAIRS[2].target, "Біз шай ішеміз."]))
    assert [values[f"{name}_rate"].value for name in ("empty", "off_target", "equal")] == [0.25, 0.25, 0.25]
    assert values["chrfpp"].value > 0


@pytest.mark.parametrize("language", REGISTERED, ids=lambda each: each.tag)
def test_no_language_refuses_its_own_text(language: Language) -> None:
    """One with a profile knows its own sentences; one without says nothing of any."""
    own = {"kaa-Latn": KARAKALPAK, "crh-Latn": CRIMEAN_TATAR}.get(language.tag, KARAKALPAK)
    if language.profile:
        own = profile_text(language.profile)
    sentences = [part for part in regex.split(r"(?<=[.!?])\s+", own) if len(part) > 40][:40]
    pairs = [Pair(f"p{place}", "x", "?") for place in range(len(sentences))]
    made = metric(TaskContext(language, languages=REGISTERED))
    values = made.aggregate(scored(made, sentences, pairs))
    if language.profile:
        assert values["off_target_rate"].value <= 0.05
    else:
        assert "off_target_rate" not in values
        assert made.notes[-1].startswith(f"off_target_rate: none; {language.tag} has no profile")


@pytest.mark.parametrize("language", WITH_PROFILE, ids=lambda each: each.tag)
def test_every_language_refuses_the_others(language: Language) -> None:
    made = metric(TaskContext(language))
    for other in WITH_PROFILE:
        if other is not language:
            texts = [part for part in regex.split(r"(?<=[.!?])\s+", profile_text(other.profile)) if len(part) > 60][:20]
            with pytest.raises(Refused, match=f"in another language than {language.tag}"):
                made.aggregate(scored(made, texts, [Pair(f"p{place}", "x", "?") for place in range(len(texts))]))


def test_the_languages_that_are_installed_decide_nothing() -> None:
    for language in REGISTERED:
        alone, among = (metric(TaskContext(language, languages=some)) for some in ([language], REGISTERED))
        for text in (*RUSSIAN, *HYPOTHESES, KARAKALPAK, CRIMEAN_TATAR):
            assert scored(alone, [text], PAIRS[:1]) == scored(among, [text], PAIRS[:1])
        assert alone.deciding == among.deciding
        assert alone.notes == among.notes


def test_a_refusal_is_a_record_with_its_reason(tmp_path: Path, tilbench: Callable[..., Any]) -> None:
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({"id": f"p{i}", "source": f"a{i}", "target": f"b{i} c"}) + "\n" for i in range(3))
    )
    (tmp_path / "mute.py").write_text(
        "from tilbench import hookimpl\n"
        "from tilbench.kinds.requests import Generated, Generation\n"
        "from tilbench.testing.toys import ToyLanguageModel, ToyLoader\n"
        "class Mute(ToyLanguageModel):\n"
        "    def one(self, request):\n"
        "        return Generated('', 0, True) if isinstance(request, Generation) else super().one(request)\n"
        "class Loader(ToyLoader):\n"
        "    made = Mute\n"
        "@hookimpl\n"
        "def register_loaders(register):\n"
        "    register('toy', Loader)\n"
    )
    task = "{name: %s, metric: %s, dataset: %s/pairs.jsonl, language: en-Latn}"
    tasks = f"[{task % ('mute', 'translation', tmp_path)}, {task % ('after', 'correction', tmp_path)}]"
    (tmp_path / "s.yaml").write_text(f"name: s\ntitle: t\ntasks: {tasks}\n")
    run = ("--plugin", tmp_path / "mute.py", "run", tmp_path / "s.yaml", "--models", "toy", "--out", tmp_path / "out")
    for _ in range(2):  # the second time from the journal
        ended = tilbench(*run)
        assert ended.status == 0, ended.err
    records = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "out").glob("*/*/*.json")}
    mute, after = (
        next(record for name, record in records.items() if name.startswith(each)) for each in ("mute", "after")
    )
    assert mute["status"] == "n/a"
    assert "3 of 3 hypotheses are empty" in mute["reason"]
    assert mute["values"] == {}
    assert after["status"] == "done"


# Files


def write(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "hyp", HYPOTHESES), write(tmp_path / "ref", [pair.target for pair in PAIRS])


def test_files_are_scored_as_sacrebleu_scores_them(files: tuple[Path, Path], tilbench: Callable[..., Any]) -> None:
    ended = tilbench("score-translation", *files, files[1], "--language", "kk-Cyrl", "--ter", "--json")
    assert ended.status == 0, ended.err
    printed = json.loads(ended.out)
    references = [[pair.target for pair in PAIRS]] * 2
    assert printed["values"]["bleu"]["value"] == sacrebleu.corpus_bleu(HYPOTHESES, references).score
    assert printed["values"]["chrfpp"]["value"] == sacrebleu.corpus_chrf(HYPOTHESES, references, word_order=2).score
    assert "nrefs:2" in printed["signatures"][0]
    plain = tilbench("score-translation", *files, "--language", "kk-Cyrl")
    assert [line.split()[0] for line in plain.out.splitlines()] == ["chrfpp", "bleu"]
    assert math.isclose(float(plain.out.split()[1]), printed["values"]["chrfpp"]["value"], abs_tol=0.5)


def test_files_that_cannot_be_translations_are_refused(
    files: tuple[Path, Path], tmp_path: Path, tilbench: Callable[..., Any]
) -> None:
    hypotheses, references = files
    short = write(tmp_path / "short", HYPOTHESES[:3])
    transposed = write(tmp_path / "one", [PAIRS[0].target])
    blank = write(tmp_path / "blank", [*HYPOTHESES[:3], " "])
    copied = write(tmp_path / "copied", [pair.target for pair in PAIRS])
    for arguments, message in (
        ((short, references), "has 3 lines and"),
        ((hypotheses, transposed), "has 4 lines and"),
        ((hypotheses, blank), "blank:4: a reference is empty"),
        ((copied, references), "4 of 4 hypotheses are the reference itself"),
        ((references, references), "as hypotheses and as references"),
        ((hypotheses, tmp_path / "nowhere"), "cannot be read"),
        ((write(tmp_path / "nothing", []), references), "is empty"),
    ):
        ended = tilbench("score-translation", *arguments, "--language", "kk-Cyrl")
        assert ended.status == 2
        assert message in ended.err
        assert ended.err.count("\n") == 1


def test_the_other_direction_is_read_from_the_same_file(data_dir: Path, host: Any) -> None:
    from tilbench.resolve.datasets import rows_of

    there = rows_of("parallel/kk-ru/ntrex", host.registry, data_dir, limit=5).rows
    back = rows_of("parallel/ru-kk/ntrex", host.registry, data_dir, limit=5).rows
    assert [(row.source, row.target) for row in back if isinstance(row, Pair)] == [
        (row.target, row.source) for row in there if isinstance(row, Pair)
    ]
