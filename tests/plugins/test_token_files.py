"""Token files: the same whoever makes them and however often that is interrupted; what goes into them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilbench.config.model import Data
from tilbench.data.dataset import Dataset
from tilbench.data.resolve import load_rows
from tilbench.data.rows import Conversation, Document
from tilbench.errors import DataError
from tilbench.loader import load_plugins
from tilbench.training.fit import train
from tilbench.training.resolve import resolve_training
from tilbench.training.rows import is_held_out, paragraphs, select_rows
from tilbench_trainers.data import chunks
from tilbench_trainers.data.packing import Stream
from tilbench_trainers.data.tokens import Encoding, token_file

EOS = 256
WORDS = ["ақша", "бала", "дала", "кеме", "тау", "river", "stone", "yol", "göl", "kuş"]


def encode(texts: Sequence[str]) -> list[list[int]]:
    return [list(text.encode()) for text in texts]


def documents(count: int, size: int = 40) -> list[Document]:
    return [Document(str(n), " ".join(WORDS[(n * k + k) % 10] for k in range(size))) for n in range(count)]


def make(path: Path, rows: Sequence[Document], **options: Any) -> Any:
    given = {name: options.pop(name) for name in ("workers", "progress") if name in options}
    settings: dict[str, Any] = {"encode": encode, "separator": EOS, "vocabulary": 257, "fingerprint": "x", **options}
    return token_file(path, rows, Encoding(**settings), **given)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_CHARACTERS", 2000)


@pytest.mark.usefixtures("small_parts")
def test_the_file_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    rows, seen = documents(60), list[tuple[int, int]]()
    one = make(tmp_path / "one.bin", rows, workers=1, progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 5
    assert seen[-1] == (60, 60)
    three = make(tmp_path / "three.bin", rows, workers=3)
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "three.bin").read_bytes()
    assert (one.documents, one.bytes) == (three.documents, three.bytes)
    assert one.ids.tolist() == [token for row in rows for token in (*row.text.encode(), EOS)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.bin", "one.json", "three.bin", "three.json"]


@pytest.mark.usefixtures("small_parts")
def test_parts_that_are_done_are_kept(tmp_path: Path) -> None:
    rows, calls = documents(60), list[int]()

    def dying(texts: Sequence[str]) -> list[list[int]]:
        calls.append(len(texts))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return encode(texts)

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "a.bin", rows, encode=dying)
    assert not (tmp_path / "a.bin").exists()
    done = sum(calls[:3])

    def counted(texts: Sequence[str]) -> list[list[int]]:
        calls.append(len(texts))
        return encode(texts)

    calls.clear()
    made = make(tmp_path / "a.bin", rows, encode=counted)
    assert sum(calls) == 60 - done
    assert made.ids.tolist() == make(tmp_path / "b.bin", rows).ids.tolist()


@pytest.mark.usefixtures("small_parts")
def test_parts_of_other_documents_are_not_taken(tmp_path: Path) -> None:
    def dying(texts: Sequence[str]) -> list[list[int]]:
        if any(text.startswith(rows[40].text[:30]) for text in texts):
            raise KeyboardInterrupt
        return encode(texts)

    rows = documents(60)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "a.bin", rows, encode=dying)
    other = make(tmp_path / "a.bin", rows[::-1], fingerprint="y")
    assert other.ids.tolist() == make(tmp_path / "b.bin", rows[::-1], fingerprint="y").ids.tolist()


_KILLED = """
import sys, time
from pathlib import Path
from tests_token_files import documents, encode
from tilbench_trainers.data import chunks
from tilbench_trainers.data.tokens import Encoding, token_file

chunks._CHARACTERS = 2000
def slow(texts):
    time.sleep(0.05)
    return encode(texts)

if __name__ == "__main__":
    encoding = Encoding(encode=slow, separator=256, vocabulary=257, fingerprint="x")
    token_file(Path(sys.argv[1]), documents(400), encoding)
"""


@pytest.mark.slow
def test_a_kill_loses_at_most_the_part_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests_token_files.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "killed.py").write_text(_KILLED, encoding="utf-8")
    path, folder = tmp_path / "data" / "a.bin", tmp_path / "data" / "a-parts"
    for wanted in (5, 12):
        process = subprocess.Popen([sys.executable, str(tmp_path / "killed.py"), str(path)])
        deadline = time.monotonic() + 60
        while len(list(folder.glob("*.json"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert len(list(folder.glob("[0-9]*.json"))) >= wanted
    monkeypatch.setattr(chunks, "_CHARACTERS", 2000)
    kept = {each.name: each.stat().st_mtime_ns for each in folder.glob("[0-9]*.json")}
    encoded: list[int] = []

    def counted(texts: Sequence[str]) -> list[list[int]]:
        encoded.append(len(texts))
        return encode(texts)

    made = make(path, documents(400), encode=counted)
    assert sum(encoded) < 400 - len(kept)
    assert made.ids.tolist() == make(tmp_path / "b.bin", documents(400)).ids.tolist()


def test_short_documents_are_left_out(tmp_path: Path) -> None:
    rows = [Document("1", "abcd"), Document("2", "abcde"), Document("3", "")]
    made = make(tmp_path / "a.bin", rows, min_tokens=5)
    assert made.ids.tolist() == [*b"abcde", EOS]
    assert (made.documents, made.bytes) == (1, 5)
    assert make(tmp_path / "a.bin", rows, min_tokens=4).documents == 2
    with pytest.raises(DataError, match="none of its 3 documents has 9 tokens; lower min_tokens"):
        make(tmp_path / "b.bin", rows, min_tokens=9)


@pytest.mark.usefixtures("small_parts")
def test_ids_outside_the_vocabulary_are_refused_from_a_worker_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"document '\d+' has the token 2\d\d, and the vocabulary ends at 199"):
        make(tmp_path / "a.bin", documents(60), vocabulary=200, separator=None, workers=2)
    assert not list(tmp_path.iterdir())


def test_a_real_tokenizer_goes_to_workers(tmp_path: Path, small_parts: None) -> None:
    family = load_plugins().registry.tokenizers.get("bpe")
    rows = documents(60)
    tokenizer = family.train([row.text for row in rows], {"vocab_size": 300})
    options: dict[str, Any] = {"vocabulary": tokenizer.size, "separator": tokenizer.special.eos}
    options["encode"] = tokenizer.encode_batch
    one, two = (make(tmp_path / f"{n}.bin", rows, workers=n, **options).ids for n in (1, 2))
    assert np.array_equal(one, two)


# What goes in


def test_blank_lines_separate_paragraphs() -> None:
    found = paragraphs(Document("a", "\n\none\ntwo\n \t\n\nthree  \n\n\n", "web"))
    assert found == [Document("a/1", "one\ntwo", "web"), Document("a/2", "three  ", "web")]


@given(text=st.text(alphabet="ab \n\t", max_size=60))
def test_splitting_loses_nothing_but_blank_lines(text: str) -> None:
    found = [part.text for part in paragraphs(Document("a", text))]
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(part.strip() and "\n\n" not in part for part in found)


@given(ids=st.sets(st.text(min_size=1, max_size=8), max_size=60), share=st.floats(0, 0.99))
def test_holding_out_is_a_matter_of_each_id(ids: set[str], share: float) -> None:
    rows = [Document(identity, identity) for identity in sorted(ids)]
    found = select_rows(rows, Data(dataset="a", validation_ratio=share))
    assert {row.id for row in found.heldout} == {identity for identity in ids if is_held_out(identity, share)}
    assert {row.id for row in found.train} | {row.id for row in found.heldout} == ids


def test_about_the_share_is_held_out() -> None:
    found = select_rows(documents(4000, 1), Data(dataset="a", validation_ratio=0.05))
    assert 150 < len(found.heldout) < 250
    assert len(found.train) + len(found.heldout) == 4000


def test_duplicates_and_what_is_short_are_left_out_and_counted() -> None:
    rows = [Document("1", "long enough"), Document("2", "long enough"), Document("3", "short")]
    found = select_rows(rows, Data(dataset="a", deduplicate=True, min_characters=6))
    assert [row.id for row in found.train] == ["1"]
    assert found.dropped == {"duplicates": 1, "shorter than 6 characters": 1}


def test_a_paragraph_that_is_held_out_is_not_trained_on() -> None:
    rows = [Document(str(n), f"own {n}\n\nshared by all") for n in range(50)]
    found = select_rows(rows, Data(dataset="a", deduplicate=True, split="blank_lines", validation_ratio=0.3))
    train, heldout = ({row.text for row in part if isinstance(row, Document)} for part in (found.train, found.heldout))
    assert "shared by all" in heldout
    assert not train & heldout


def test_conversations_with_short_answers_are_left_out() -> None:
    rows = [
        Conversation("1", (("user", "u"), ("assistant", "one two three four five"))),
        Conversation("2", (("user", "u"), ("assistant", "one two three four"))),
    ]
    found = select_rows(rows, Data(dataset="a", min_answer_words=5))
    assert [row.id for row in found.train] == ["1"]
    assert found.dropped == {"with an answer of fewer than 5 words": 1}


def test_a_source_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "abc"}\n', encoding="utf-8")
    data = "data=[{dataset: a, min_characters: 9}]"
    with pytest.raises(DataError, match="'a': none of its 1 rows is left to train on: 1 shorter than 9 characters"):
        resolve_training("turkish-v1:tiny", load_plugins().registry, tmp_path, [data])


def test_hub_streams_are_interleaved_by_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def stream(hub: str, *_: Any, **__: Any) -> Any:
        make_rows: Any = datasets.IterableDataset.from_generator
        return make_rows(lambda: ({"content": f"{hub} {n}", "more": n} for n in range(300)))

    monkeypatch.setattr(datasets, "load_dataset", stream)
    columns = {"text": "content"}
    first, second = (Dataset(hub=hub, streaming=True, columns=columns) for hub in ("o/a", "o/b"))

    def texts(seed: int) -> list[str]:
        rows = load_rows(
            "mixed", Dataset(kind="documents", mix=((first, 0.75), (second, 0.25))), None, limit=200, seed=seed
        ).rows
        return [row.text for row in rows if isinstance(row, Document)]

    drawn = texts(0)
    assert len(drawn) == 200
    assert 130 < sum(text.startswith("o/a") for text in drawn) < 170
    assert drawn == texts(0) != texts(1)
    with pytest.raises(DataError, match="weights of its streams sum to zero"):
        load_rows("mixed", Dataset(kind="documents", mix=((first, 0.0),)), None)


def test_what_was_left_out_is_said_and_recorded(tmp_path: Path) -> None:
    rows = [
        {"text": text}
        for text in ("a b c d e f g h", "a b c d e f g h", "short", *("long enough " * n for n in range(2, 30)))
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = "data=[{dataset: a, min_characters: 9, deduplicate: true, validation_ratio: 0.2}]"
    overrides = [data, "recipe.steps=1", "recipe.schedule.warmup=0", "recipe.sequence_length=16"]
    training = resolve_training("turkish-v1:tiny", load_plugins().registry, tmp_path, overrides)
    dropped = {"duplicates": 1, "shorter than 9 characters": 1}
    assert training.sources[0].dropped == dropped
    train(training, load_plugins().registry, tmp_path / "run", progress=False)
    recorded = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["data"]["a"]
    assert recorded["dropped"] == dropped
    line = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert set(json.loads(line)["validation"]) == {"a"}


@pytest.mark.parametrize("length", [2048, 2500])
def test_rows_of_any_length(length: int, tmp_path: Path) -> None:
    ids = make(tmp_path / "a.bin", documents(60, 300)).ids
    order = Stream({"a": (1.0, ids)}, sequence_length=length, rows=3, separator=EOS, masked=True)
    assert order.batch(0).ids.shape == (3, length)
