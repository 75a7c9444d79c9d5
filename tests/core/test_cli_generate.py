"""`tilbench generate`: a streamed text is the one of a batch, whole characters only, and scripts get it alone."""

from __future__ import annotations

import copy
import io
import itertools
import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tilbench.checkpoints.generation import chat_template, end_tokens, read_generation_config
from tilbench.config.decoding import Decoding, Recommended
from tilbench.errors import CheckpointError
from tilbench.generation.texts import Writer
from tilbench.kinds.requests import Generated, Generation
from tilbench.loader import load_plugins
from tilbench.scoring.decode.generate import Job, generate
from tilbench.scoring.decode.stream import Streamer
from tilbench.testing.modules import example_config, lively
from tilbench.training.fit import train
from tilbench.training.resolve import resolve_training
from tilbench_tokenizers.raw import ByteTokenizer

REGISTRY = load_plugins().registry
CPU = torch.device("cpu")
_LLAMA = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
SIZES: dict[str, dict[str, Any]] = {"huggingface": {"model_type": "llama", "config": _LLAMA}}
SETTINGS = {
    "greedy": Decoding(max_new_tokens=24),
    "sampled": Decoding(max_new_tokens=24, temperature=1.1, top_k=40, top_p=0.95),
    "penalised": Decoding(max_new_tokens=24, temperature=0.9, repetition_penalty=1.3, no_repeat_ngram=2),
}
Tilbench = Callable[..., Any]


@pytest.fixture(scope="module", params=REGISTRY.architectures.names())
def decoder(request: pytest.FixtureRequest) -> Any:
    architecture = REGISTRY.architectures.get(request.param)
    config = example_config(architecture, {"vocab_size": 259, "max_length": 96, **SIZES.get(request.param, {})})
    torch.manual_seed(0)
    return lively(architecture.build(config))


def jobs(decoding: Decoding, stop: tuple[str, ...] = ()) -> list[Job]:
    draw = random.Random(3)
    made = []
    for seed, length in enumerate((1, 4, 4, 19, 90, 200)):
        ids = [draw.randrange(256) for _ in range(length)]
        made.append(Job(Generation(str(ids), decoding, stop, seed), ids, frozenset({7})))
    return made


def streamed(streamer: Streamer, job: Job) -> Generated:
    pieces: list[str] = []
    answer = streamer.stream(job, pieces.append)
    assert "".join(pieces) == answer.text
    return answer


@pytest.mark.parametrize("how", SETTINGS)
def test_a_streamed_text_is_that_of_a_batch(decoder: Any, how: str) -> None:
    tokenizer: Any = ByteTokenizer()
    for stop in ((), ("e", "\ufffd\ufffd")):
        asked = jobs(SETTINGS[how], stop)
        with torch.inference_mode():
            together = dict(itertools.chain.from_iterable(generate(decoder, tokenizer, asked, CPU, 4096)))
        streamer = Streamer(decoder, tokenizer, CPU)  # one for all: what it remembers of a text changes none
        for job in asked:
            assert streamed(streamer, job) == together[job.request]


@pytest.mark.parametrize("how", SETTINGS)
def test_what_is_no_number_is_no_text(decoder: Any, how: str) -> None:
    broken = copy.deepcopy(decoder)
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    tokenizer: Any = ByteTokenizer()
    job = jobs(SETTINGS[how])[1]
    with pytest.raises(CheckpointError, match="not numbers"):
        streamed(Streamer(broken, tokenizer, CPU), job)
    with pytest.raises(CheckpointError, match="not numbers"):
        list(generate(broken, tokenizer, [job], CPU, 4096))


def test_what_two_prompts_share_is_read_once(decoder: Any) -> None:
    streamer = Streamer(decoder, ByteTokenizer(), CPU)
    ids = list(range(60))
    alone = {}
    for end in (100, 101):
        job = Job(Generation(str(end), Decoding(max_new_tokens=8)), [*ids, end])
        alone[end] = streamed(Streamer(decoder, ByteTokenizer(), CPU), job)
        assert streamed(streamer, job) == alone[end]
    assert streamer.read == 1


class Scripted:
    """A decoder that writes what it is told."""

    vocab_size, max_length = 259, 4096

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids: Iterator[int] = iter(ids)

    def hidden(self, ids: Any, **more: Any) -> Any:
        return torch.zeros(*ids.shape, 1)

    def project(self, hidden: Any) -> Any:
        return torch.nn.functional.one_hot(torch.tensor([next(self.ids)]), self.vocab_size).float()

    def new_cache(self, batch: int, length: int) -> Any:
        return None


class AllOrNothing(ByteTokenizer):
    """Bytes as SentencePiece's fallback writes them in Transformers: a run that is no UTF-8 becomes U+FFFD whole."""

    fallback_ids = frozenset(range(0x100))

    def decode(self, ids: Sequence[int]) -> str:
        data = bytes(each for each in ids if each < 0x100)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(data)


def written(data: bytes, stop: tuple[str, ...] = (), tokenizer: Any = None, limit: int = 0) -> list[str]:
    pieces: list[str] = []
    job = Job(Generation("x", Decoding(max_new_tokens=limit or len(data) + 1), stop), [1])
    Streamer(Scripted([*data, 258]), tokenizer or ByteTokenizer(), CPU).stream(job, pieces.append)  # type: ignore[arg-type]
    return pieces


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), AllOrNothing()])
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\ufffd"), max_size=30))
def test_no_half_of_a_character_is_shown(tokenizer: Any, text: str) -> None:
    pieces = written(text.encode(), tokenizer=tokenizer)
    assert "".join(pieces) == text
    assert all(pieces)


def test_characters_are_shown_as_soon_as_they_are_whole() -> None:
    assert written("ақ😀b".encode()) == ["а", "қ", "😀", "b"]
    assert "".join(written(b"a\xd0b")) == "a\ufffdb"
    assert written("қ".encode(), limit=1) == ["\ufffd"]  # cut off there: as in a batch


@given(text=st.text("ab!", max_size=25), stops=st.lists(st.text("ab!", min_size=1, max_size=4), max_size=3))
def test_no_beginning_of_a_stop_is_shown(text: str, stops: list[str]) -> None:
    pieces = written(text.encode(), tuple(stops))
    come = next((text[:end] for end in range(len(text) + 1) if any(stop in text[:end] for stop in stops)), text)
    places = [place for stop in stops if (place := come.find(stop)) >= 0]
    assert "".join(pieces) == text[: min(places, default=None)]


def test_text_before_a_stop_does_not_wait_for_more_than_its_beginning() -> None:
    assert written(b"one. User: two", ("\nUser:",))[:4] == ["o", "n", "e", "."]
    assert written(b"x\nUsed", ("\nUser:",)) == ["x", "\nUsed"]


def test_generation_config_is_read_as_transformers_means_it(tmp_path: Path) -> None:
    file = tmp_path / "generation_config.json"
    assert read_generation_config(tmp_path).generation is None
    file.write_text(json.dumps({"eos_token_id": [1, 106], "transformers_version": "5"}), encoding="utf-8")
    assert read_generation_config(tmp_path).generation is None
    file.write_text(json.dumps({"do_sample": True, "top_p": 0.9, "no_repeat_ngram_size": 3}), encoding="utf-8")
    found = Recommended(temperature=1.0, top_k=50, top_p=0.9, no_repeat_ngram=3)
    assert read_generation_config(tmp_path).generation == found
    file.write_text(json.dumps({"temperature": 0.3, "top_p": 0.5, "max_new_tokens": 9}), encoding="utf-8")
    assert read_generation_config(tmp_path).generation == Recommended(temperature=0.0, max_new_tokens=9)
    file.write_text(json.dumps({"do_sample": True, "temperature": "hot"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="temperature"):
        read_generation_config(tmp_path)


def test_end_tokens_are_those_of_the_generation_config_else_of_the_config(tmp_path: Path) -> None:
    assert end_tokens(tmp_path) == frozenset()
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 7}), encoding="utf-8")
    assert end_tokens(tmp_path) == {7}
    file = tmp_path / "generation_config.json"
    file.write_text(json.dumps({"eos_token_id": None}), encoding="utf-8")
    assert end_tokens(tmp_path) == {7}
    file.write_text(json.dumps({"eos_token_id": [1, 106]}), encoding="utf-8")
    assert end_tokens(tmp_path) == {1, 106}


def test_a_chat_template_is_told_by_its_marks_and_never_run(tmp_path: Path) -> None:
    assert chat_template(tmp_path) == ("", "")
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": "{{ boom() }}<|im_start|>"}), encoding="utf-8")
    assert chat_template(tmp_path)[0] == "chatml"
    (tmp_path / "chat_template.jinja").write_text("<start_of_turn>{{ x }}", encoding="utf-8")
    assert chat_template(tmp_path) == ("gemma", str(tmp_path / "chat_template.jinja"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("writing") / "run"
    training = resolve_training(
        "auto-g-nano-1b:tiny-sft", REGISTRY, None, ["recipe.steps=2", "recipe.schedule.warmup=1"]
    )
    train(training, REGISTRY, folder, progress=False)
    return folder


def test_the_text_alone_is_on_standard_output(run: Path, tilbench: Tilbench) -> None:
    how = ["--max-new-tokens", 8, "--seed", 3]
    one = tilbench("generate", run, "The sky", *how)
    assert one.status == 0, one.err
    row = json.loads(tilbench("generate", run, "The sky", *how, "--json").out)
    assert one.out == row["text"] + "\n"
    assert "settings: temperature 0.8, top_k 40, at most 8 tokens, seed 3 (the generation settings of" in one.err
    assert "max_new_tokens as given" in one.err
    expected = {"max_new_tokens": 8, "temperature": 0.8, "top_k": 40, "seed": 3, "stop": [], "template": ""}
    assert expected.items() <= row["settings"].items()
    assert (row["prompt"], row["finish"] in ("stop", "length"), row["tokens"] <= 8) == ("The sky", True, True)


@pytest.mark.parametrize(
    ("answer", "finish", "warned"),
    [
        (Generated("a", 8, False), "length", False),
        (Generated("a", 5, False, short=3), "context", True),
        (Generated("a", 5, True), "stop", False),
    ],
)
def test_a_text_that_the_context_cut_short_says_so(
    answer: Generated,
    finish: str,
    warned: bool,
    run: Path,
    tilbench: Tilbench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`length` would blame an option that asked for more."""
    monkeypatch.setattr(Writer, "_answers", lambda self, asked: [[(request, answer) for request in asked]])
    done = tilbench("generate", run, "a", "b", "--max-new-tokens", 8, "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["finish"], row["short"]) for row in rows] == [(finish, answer.short)] * 2
    assert ("2 of 2 texts ended with the model's context" in done.err) == warned


def test_weights_that_are_no_numbers_are_one_line_and_no_record(run: Path, tilbench: Tilbench, tmp_path: Path) -> None:
    broken = tmp_path / "step-00000002"
    shutil.copytree(run / "step-00000002", broken)
    weights = load_file(broken / "model.safetensors")
    weights[min(weights)].fill_(torch.nan)
    save_file(weights, broken / "model.safetensors")
    run_it = ["run", "quickstart", "--tasks", "bpb-en", "--models", broken, "--out", tmp_path / "records"]
    for status, command in ((2, ["generate", broken, "The sky"]), (1, run_it)):  # the baselines were scored
        done = tilbench(*command)
        assert done.status == status, done.out
        assert "step-00000002/model.safetensors: " in done.err.splitlines()[-1]
        assert f"values of {min(weights)} are not finite (NaN or infinity)" in done.err.splitlines()[-1]
    assert not list(tmp_path.glob("records/**/step*"))


def test_many_prompts_keep_their_order(run: Path, tilbench: Tilbench, tmp_path: Path) -> None:
    prompts = ["a", "a much longer prompt", "b", "a"]
    (tmp_path / "p.txt").write_text("\n".join(prompts[1:]) + "\n\n", encoding="utf-8")
    done = tilbench("generate", run, prompts[0], "--file", tmp_path / "p.txt", "--json", "--template", "alpaca")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["prompt"] for row in rows] == prompts
    assert rows[0]["text"] == rows[3]["text"]
    assert rows[0]["settings"]["stop"] == ["\n\n### Instruction:"]
    for row in rows:  # alone, as it comes: the same
        alone = tilbench("generate", run, row["prompt"], "--template", "alpaca")
        assert alone.out == row["text"] + "\n"


def test_rows_and_standard_input(
    run: Path, tilbench: Tilbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "two\\nlines"}\n', encoding="utf-8")
    done = tilbench("generate", run, "--file", tmp_path / "p.jsonl", "--json", "--greedy", "--max-new-tokens", 2)
    assert json.loads(done.out)["prompt"] == "two\nlines"
    monkeypatch.setattr("sys.stdin", io.StringIO("x\r\n\ny\n"))
    done = tilbench("generate", run, "--json", "--max-new-tokens", 2)
    assert [json.loads(line)["prompt"] for line in done.out.splitlines()] == ["x", "y"]


def test_a_prompt_that_is_cut_is_named(run: Path, tilbench: Tilbench) -> None:
    done = tilbench("generate", run, "word " * 400, "--max-new-tokens", 4)
    assert done.status == 0
    assert "warning: 1 of 1 prompts were too long and lost their beginning" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["xz", "x"], "xz writes no text: it answers document requests only"),
        (["ngram", "x"], "ngram writes no text"),
        (["RUN", "x", "--template", "chatlm"], "did you mean chatml"),
        (["RUN", "x", "--greedy", "--temperature", "1"], "leave out one of --greedy and --temperature"),
        (["RUN", "x", "--stop", ""], "--stop is empty"),
        (["RUN", "--file", "no.txt"], "no.txt"),
        (["RUN"], "there is no prompt"),
    ],
)
def test_mistakes_are_one_line(
    run: Path, tilbench: Tilbench, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    done = tilbench("generate", *[str(run) if each == "RUN" else each for each in arguments])
    assert done.status == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_model_that_is_not_trained_is_answered_with_the_command_that_trains_it(
    tilbench: Tilbench, tmp_path: Path
) -> None:
    done = tilbench("generate", "til-mini-1b:tiny", "x", "--runs", tmp_path)
    folder = tmp_path / "til-mini-1b-tiny"
    assert done.status == 2
    assert done.err.endswith(f"make one with 'tilbench train til-mini-1b:tiny --out {folder}'\n")


def test_a_config_that_is_no_json_is_said_to_be_none(tilbench: Tilbench, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": ', encoding="utf-8")
    for command in (("generate", tmp_path, "x"), ("import", tmp_path, "--out", tmp_path / "out")):
        done = tilbench(*command)
        assert (done.status, done.err.count("\n")) == (2, 1)
        assert "config.json is not JSON (" in done.err


def test_control_c_keeps_what_was_written(run: Path, tilbench: Tilbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: Streamer, job: Job, show: Callable[[str], None]) -> Generated:
        show("half a te")
        raise KeyboardInterrupt

    monkeypatch.setattr(Streamer, "stream", stopped)
    done = tilbench("generate", run, "x")
    assert (done.status, done.out) == (130, "half a te")
    assert "Traceback" not in done.err
