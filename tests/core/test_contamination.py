"""Contamination: what is planted in a training text is found, exactly, in memory that does not grow with it."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tilbench.contamination.items import parts
from tilbench.contamination.normalise import BOUNDARY
from tilbench.contamination.overlap import LETTERS, RULE, SHORTEST, WORDS, Overlap, OverlapIndex
from tilbench.data.rows import Document, Item, Pair, Prompt, Question, Reading
from tilbench.evaluation.contamination import clean_values
from tilbench.evaluation.training_text import _decoded, stream_text
from tilbench.kinds.metric import ItemScore, TaskContext
from tilbench.loader import Host
from tilbench.resolve.datasets import documents
from tilbench.results.record import CONTAMINATED
from tilbench.results.store import RecordStore
from tilbench.testing.toys import ToyMetric, ToySettings

_SYLLABLES = ["қа", "ла", "тау", "су", "жер", "бұл", "өз", "ең", "күн", "ай", "көк", "те", "ңіз", "дос", "мен"]


def _words(count: int, seed: object) -> list[str]:
    """Made-up words of three syllables: two seeds practically never share 13 in a row, or 50 letters."""
    draw = random.Random(str(seed))
    return ["".join(draw.choices(_SYLLABLES, k=3)) for _ in range(count)]


def _text(count: int, seed: object) -> str:
    return " ".join(_words(count, seed))


def _scan(items: dict[str, str], *documents: str) -> Overlap:
    index = OverlapIndex((key, [("text", text)]) for key, text in items.items())
    return index.scan(document + BOUNDARY for document in documents)


def _found(overlap: Overlap) -> set[str]:
    return {key for key, item in overlap.items.items() if item.covered}


def test_planted_items_are_found_and_no_others() -> None:
    items = {str(number): _text(30, f"item {number}") for number in range(200)}
    planted = random.Random(0).sample(sorted(items), 20)
    corpus = [f"{_text(40, f'before {key}')} {items[key]} {_text(40, f'after {key}')}" for key in planted]
    overlap = _scan(items, *(_text(500, f"noise {number}") for number in range(20)), *corpus)
    assert _found(overlap) == set(planted)
    assert all(overlap.items[key].covered == 1 for key in planted)


@settings(max_examples=60)
@given(st.data())
def test_a_window_copied_anywhere_is_found(data: st.DataObject) -> None:
    item = _words(data.draw(st.integers(WORDS, 40)), "item")
    start = data.draw(st.integers(0, len(item) - WORDS))
    window = " ".join(item[start : start + WORDS])
    around = [_text(data.draw(st.integers(0, 60)), side) for side in ("left", "right")]
    overlap = _scan({"item": " ".join(item)}, _text(50, "other"), f"{around[0]} {window} {around[1]}")
    assert _found(overlap) == {"item"}
    letters = len("".join(item))
    assert overlap.items["item"].covered >= len(window.replace(" ", "")) / letters


def test_one_word_or_letter_less_is_not_found() -> None:
    words = [f"{letter}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]  # 13 words are 26 letters
    assert _found(_scan({"item": " ".join(words)}, f"zz {' '.join(words[:WORDS])} zz")) == {"item"}
    assert not _found(_scan({"item": " ".join(words)}, f"zz {' '.join(words[: WORDS - 1])} zz"))
    letters = "".join(random.Random(1).choices("бвгджзклмнпрст", k=70))
    assert _found(_scan({"item": letters}, f"{letters[5:30]} – {letters[30 : 5 + LETTERS]}")) == {"item"}
    assert not _found(_scan({"item": letters}, f"{letters[5:30]} – {letters[30 : 4 + LETTERS]}"))


def test_a_short_item_is_found_whole_between_words_only() -> None:
    item = {"item": "Абай – қазақтың ұлы ақыны"}
    assert _found(_scan(item, "Мектепте: «АБАЙ, қазақтың ұлы ақыны!» деп оқыдық.")) == {"item"}
    assert not _found(_scan(item, "Абай – қазақтың ұлы ақынының бірі"))
    assert not _found(_scan(item, "Абай – қазақтың жазушысы, ұлы ақыны"))


def test_what_is_too_short_to_mean_anything_is_said_and_not_looked_for() -> None:
    overlap = _scan({"item": "Бір күні"}, "Бір күні ол келді")
    assert overlap.items["item"].short
    assert not _found(overlap)
    assert len("Біркүні") < SHORTEST


def test_no_items_and_items_of_no_letters() -> None:
    assert _scan({}, "бір екі").items == {}
    overlap = _scan(
        {"none": "…", "mark": f"бір{chr(0x10FFFF)}екі үш төрт бес", "own": _text(20, "own")}, _text(20, "own")
    )
    assert _found(overlap) == {"own"}


def test_case_width_and_punctuation_make_no_difference() -> None:
    item = "Ｔhe ﬁrst law: a body at rest stays at rest, unless a force acts on it (Newton)."
    assert _found(_scan({"item": item}, item.upper().replace(" ", "\n").replace(":", " —"))) == {"item"}


_TURKISH = (
    "Iğdır'ın ılık kışı ile İzmir'in kıyıları, Işıklar köyünün kırmızı kayısısı ve iri incirleri bilinir, "
    "ırmağın iki yakasında ise yalnız ışıl ışıl sığırcıklar ile ishakkuşları yaşar."
)


@pytest.mark.parametrize(
    "copy",
    [
        _TURKISH.translate({ord("i"): "İ", ord("ı"): "I"}).upper(),
        _TURKISH.upper(),  # as a program that knows no Turkish writes it
        _TURKISH.lower(),  # where İ becomes i and a dot above
        unicodedata.normalize("NFD", _TURKISH),
        _TURKISH.replace("'", "’"),
        _TURKISH.replace("'", "ʼ"),  # a letter to Unicode
        _TURKISH.replace("'", "´"),
        _TURKISH.replace("r", "r\u00ad"),
        _TURKISH.replace("l", "\u200bl"),
        "\ufeff" + _TURKISH.replace("k", "k\u200d"),
    ],
    ids=["upper", "plain-upper", "plain-lower", "nfd", "quote", "letter", "acute", "hyphens", "zero-width", "joiners"],
)
def test_a_copy_is_found_whole_however_it_was_re_cased_or_encoded(copy: str) -> None:
    assert _scan({"item": _TURKISH}, copy).items["item"].covered == 1
    assert _scan({"item": copy}, _TURKISH).items["item"].covered == 1


def test_compatibility_forms_are_plain_ones() -> None:
    assert _scan({"item": "Ｔｈｅ ﬁrst ofﬁcial ﬂoor № ５"}, "the first official floor no 5").items["item"].covered == 1


def test_the_rule_is_the_documented_one() -> None:
    assert RULE == "13 words, 50 letters, or all of a shorter text of at least 12 letters"


def test_an_item_is_as_covered_as_its_best_part_and_short_only_if_all_are() -> None:
    index = OverlapIndex([("item", [("question", _text(20, "q")), ("passage", _text(20, "p")), ("answer", "иә")])])
    found = index.scan([_text(20, "q") + BOUNDARY]).items["item"]
    assert found.covered == 1
    assert found.parts == {"question"}
    assert not found.short


def test_case_is_folded_not_lowered() -> None:
    assert (
        _scan({"item": "Die Straße heißt Große Außenstraße"}, "DIE STRASSE HEISST GROSSE AUSSENSTRASSE")
        .items["item"]
        .covered
        == 1
    )


def test_a_window_does_not_reach_from_one_document_into_the_next() -> None:
    words = _words(WORDS - 1, "item")
    assert not _found(_scan({"item": " ".join(words)}, " ".join(words[:6]), " ".join(words[6:])))


def test_a_window_is_found_across_the_stretches_of_a_long_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tilbench.contamination.overlap._STRETCH", 16)
    words = [letter * 2 for letter in "abcdefghijklm"]  # 13 words, 26 letters
    letters = "".join(random.Random(1).choices("бвгджзклмнпрст", k=LETTERS))
    items = {"words": " ".join(words), "letters": letters}
    for offset in range(17):
        spaced = " ".join(letters[at : at + 5] for at in range(0, LETTERS, 5))
        text = f"{'x' * offset} {' '.join(words)} {spaced} {_text(20, 'after')}"
        assert _found(_scan(items, text)) == {"words", "letters"}


def test_equal_hashes_of_other_words_are_no_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tilbench.contamination.rolling._mixed", lambda values: values * 0 + 7)  # all alike
    planted = _text(20, "item")
    items = {"planted": planted, "other": _text(20, "else")}
    assert _found(_scan(items, f"{_text(30, 'noise')} {planted}")) == {"planted"}


def test_memory_does_not_grow_with_the_text() -> None:
    items = {str(number): _text(30, f"item {number}") for number in range(50)}
    noise = _text(2000, "noise")

    def peak(repeats: int) -> int:
        index = OverlapIndex((key, [("text", text)]) for key, text in items.items())
        tracemalloc.start()
        overlap = index.scan(piece for _ in range(repeats) for piece in (noise, "\n", items["7"], BOUNDARY))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert _found(overlap) == {"7"}
        assert overlap.documents == repeats
        return most

    small, large = peak(60), peak(400)  # about 2 and 15 MB of text
    assert large < 1.2 * small
    assert large < 200 << 20


def test_parts_of_rows() -> None:
    question = Question("q", "Судың формуласы?", ("CO2", "H2O"), 1, passage="Мәтін")
    assert parts(question) == [
        ("question", "Судың формуласы? CO2 H2O"),
        ("question", "Судың формуласы? A CO2 B H2O"),
        ("question", "Судың формуласы? H2O"),
        ("passage", "Мәтін"),
    ]
    assert parts(Pair("p", "one", "бір")) == [("source", "one"), ("target", "бір")]
    assert parts(Prompt("p", "2 + 2 =", "4")) == [("prompt", "2 + 2 = 4")]
    assert parts(Reading("r", "Text", "What?", ("a", "b"))) == [
        ("question", "What? a"),
        ("question", "What? b"),
        ("context", "Text"),
    ]
    assert parts(Item("i", '{"q": "What?", "choices": {"text": ["a", "b"]}, "gold": 1}')) == [("text", "What? a b")]
    assert parts(Document("d", "text", source="site")) == [("text", "text")]


def test_an_exam_is_found_however_it_prints_its_options() -> None:
    row = Question("q", "Ең биік тау қайсы?", ("Алатау", "Хан Тәңірі", "Ұлытау", "Қаратау"), 1)
    for text in (
        "1. Ең биік тау қайсы?\nA) Алатау\nB) Хан Тәңірі\nC) Ұлытау\nD) Қаратау\nЖауап: B",
        "Ең биік тау қайсы? Алатау, Хан Тәңірі, Ұлытау, Қаратау",
        "Ең биік тау қайсы? — Хан Тәңірі.",
    ):
        overlap = OverlapIndex([("q", parts(row))]).scan([text + BOUNDARY])
        assert overlap.items["q"].parts == {"question"}
    assert not _found(OverlapIndex([("q", parts(row))]).scan([f"Ең биік тау қайсы?{BOUNDARY}"]))


def _texts(reference: str, host: Host, data: Path | None = None) -> list[str]:
    return "".join(stream_text(reference, host.registry, data)).strip().split(BOUNDARY.strip())


def test_texts_are_read_from_datasets_files_and_folders(tmp_path: Path, host: Host) -> None:
    (tmp_path / "a.txt").write_text("бір\n\nекі", encoding="utf-8")
    row = {"id": "7", "question": "үш?", "choices": ["төрт", "бес"], "meta": {"note": "алты"}, "answer": 0}
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(row))
    (tmp_path / "c.pdf").write_bytes(b"\xff")
    expected = ["бір\n\nекі ", " үш? төрт бес алты ", ""]
    assert _texts(str(tmp_path), host) == expected
    assert _texts("b", host, tmp_path) == ["үш? төрт бес алты ", ""]
    assert len(_texts("text/kk/train", host)) > 10


def test_a_run_is_read_from_its_token_files(tmp_path: Path, host: Host, tilbench: Callable[..., Any]) -> None:
    run = tmp_path / "run"
    settings = {
        "tokenizer": "{family: bytes}",
        "data": "[{dataset: text/kk/train}]",
        "recipe.steps": "1",
        "architecture.config.hidden_size": "32",
        "architecture.config.num_layers": "1",
        "architecture.config.intermediate_size": "64",
    }
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    assert tilbench("train", "turkish-v1:tiny", *sets, "--out", run).status == 0
    (file,) = (run / "data").glob("*.bin")
    texts = {row.text for row in documents("text/kk/train", host.registry, None)[1]}
    for reference in (run, file):
        read = [text.removesuffix(" ").removeprefix(" ") for text in _texts(str(reference), host)]
        assert {text for text in read if text} == {text.strip() for text in texts}
    file.with_suffix(".json").unlink()
    assert "train again" in tilbench("contamination", "behavior", "--against", run).err
    file.unlink()
    assert "name text/kk/train instead" in tilbench("contamination", "behavior", "--against", run).err


def test_a_long_document_of_tokens_is_decoded_in_stretches_that_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tilbench.evaluation.training_text._TOKENS", 400)
    monkeypatch.setattr("tilbench.evaluation.training_text._OVERLAP", 300)
    data = _text(80, "long").encode()
    path = tmp_path / "a.bin"
    path.write_bytes(bytes([*data, 255]))
    facts = {"dtype": "<u1", "tokens": len(data) + 1, "separator": 255, "vocabulary": 256}
    path.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
    pieces = list(_decoded(path, lambda ids: bytes(ids).decode("utf-8", "replace"), 256))
    assert len(pieces) > 5
    words = _words(80, "long")
    items = {str(at): " ".join(words[at : at + WORDS]) for at in range(80 - WORDS + 1)}
    assert _found(OverlapIndex((key, [("text", text)]) for key, text in items.items()).scan(pieces)) == set(items)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite on six questions of which two stand in `corpus.txt`."""
    rows: list[dict[str, Any]] = [
        {
            "id": f"q{number}",
            "question": f"{_text(12, number)}?",
            "choices": [_text(2, (number, n)) for n in range(4)],
            "answer": 1,
        }
        for number in range(6)
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "exam.jsonl").write_text(text, encoding="utf-8")
    leaked = [f"{row['question']}\n" + "\n".join(row["choices"]) for row in rows[:2]]
    (tmp_path / "corpus.txt").write_text("\n".join([_text(90, "x"), *leaked, _text(90, "y")]), encoding="utf-8")
    task = {"name": "exam", "metric": "choice", "dataset": str(tmp_path / "exam.jsonl"), "language": "kk-Cyrl"}
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "tasks": [{**task, "settings": {"form": "cloze"}}]}), encoding="utf-8")
    return path


def test_a_record_says_what_was_found_and_scores_the_rest(
    suite: Path, tmp_path: Path, tilbench: Callable[..., Any]
) -> None:
    out, corpus = tmp_path / "records", tmp_path / "corpus.txt"
    asked = ("run", suite, "--models", "uniform-bytes", "--out", out)
    assert tilbench(*asked).status == 0  # scored before anybody looked
    checked = tilbench(*asked, "--check-contamination", corpus)
    assert checked.status == 0
    assert "exam: 2 of 6 rows (33.3%) stand in" in checked.err
    store = RecordStore(out)
    ((path, record),) = store.records()
    block = record.contamination
    assert block is not None
    assert (block.n, block.flagged, block.parts, block.against) == (6, 2, {"question": 2}, str(corpus))
    items = store.items(path)
    assert {each.item for each in items if each.values["contaminated"]} == {"q0", "q1"}
    clean = [each.values["acc_char"] for each in items if not each.values["contaminated"]]
    assert (block.clean["acc_char"].value, block.clean["acc_char"].n) == (sum(clean) / 4, 4)
    assert record.values["acc_char"].n == 6
    assert tilbench("records", "verify", out).status == 0


def test_a_row_that_is_found_in_part_is_not_clean(suite: Path, tmp_path: Path, tilbench: Callable[..., Any]) -> None:
    rows = [json.loads(line) for line in (tmp_path / "exam.jsonl").read_text(encoding="utf-8").splitlines()]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(f"{_text(90, 'x')}\n{rows[4]['question']}\n{_text(90, 'y')}", encoding="utf-8")
    out = tmp_path / "records"
    asked = ("run", suite, "--models", "uniform-bytes", "--out", out, "--check-contamination", corpus)
    assert tilbench(*asked).status == 0
    store = RecordStore(out)
    ((path, record),) = [(path, record) for path, record in store.records() if record.status == "done"]
    shares = {each.item: each.values["contaminated"] for each in store.items(path)}
    assert 0.5 < shares.pop("q4") < 1
    assert set(shares.values()) == {0}
    assert record.contamination is not None
    assert (record.contamination.flagged, record.contamination.clean["acc_char"].n) == (1, 5)
    (task,) = [json.loads(tilbench("contamination", suite, "--against", corpus, "--json").out)]
    assert set(task[0]["rows"]) == {"q4"}


def test_an_edited_clean_value_is_rejected(suite: Path, tmp_path: Path, tilbench: Callable[..., Any]) -> None:
    out = tmp_path / "records"
    tilbench("run", suite, "--models", "uniform-bytes", "--out", out, "--check-contamination", tmp_path / "corpus.txt")
    ((path, _),) = RecordStore(out).records()
    data = json.loads(path.read_text(encoding="utf-8"))
    data["contamination"]["clean"]["acc_char"]["value"] += 0.1
    path.write_text(json.dumps(data), encoding="utf-8")
    outcome = tilbench("records", "verify", out)
    assert outcome.status == 1
    assert "clean acc_char.value" in outcome.out


def test_the_command_names_the_rows(suite: Path, tmp_path: Path, tilbench: Callable[..., Any]) -> None:
    outcome = tilbench("contamination", suite, "--against", tmp_path / "corpus.txt", "--json")
    ((task,),) = [json.loads(outcome.out)]
    assert set(task["rows"]) == {"q0", "q1"}
    assert task["flagged"] == 2
    wrong = tilbench("contamination", suite, "--against", "text/kk/trian")
    assert wrong.status == 2
    assert "text/kk/train" in wrong.err


def test_a_row_of_which_a_part_was_found_is_not_clean() -> None:
    """Shares of 0.01 and of 1 are both flagged; only rows of which nothing was found make the clean values."""
    items = [
        ItemScore(f"d{place}", f"d{place}", {"bits": bits, CONTAMINATED: share})
        for place, (bits, share) in enumerate([(1.0, 0.0), (2.0, 0.01), (4.0, 0.5), (8.0, 1.0), (16.0, 0.0)])
    ]
    clean = clean_values(ToyMetric(ToySettings(), TaskContext()), items)
    assert (clean["bits"].value, clean["bits"].n) == (8.5, 2)
    assert clean_values(ToyMetric(ToySettings(), TaskContext()), items[1:4]) == {}
