"""What does not fit a model is foreseen by the dry run, counted by the run, and an error where a task says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Tilbench = Callable[..., Any]
LENGTH = 128
QUESTIONS = [
    {"id": f"q{place}", "question": f"{place} + 2", "choices": ["4", "5"], "answer": place % 2} for place in range(6)
]
SOLVED = [{"id": f"s{place}", "question": f"{place} + 7 is", "choices": ["8", "9"], "answer": 0} for place in range(9)]
PAIRS = [{"id": f"p{place}", "source": f"word {place}", "target": f"сөз {place}"} for place in range(4)]
TASKS = {
    "letters": {"metric": "choice", "dataset": {"path": "questions.jsonl", "kind": "questions"}, "language": "en-Latn"},
    "words": {"metric": "translation", "dataset": {"path": "pairs.jsonl", "kind": "pairs"}, "language": "kk-Cyrl"},
}
LM_EVAL_TASKS = Path(__file__).parents[1] / "plugins/lm_eval_tasks"
SHOTS = {"shots": 5, "examples": {"path": "solved.jsonl", "kind": "questions"}, "settings": {"instruction": "Answer."}}


def byte_level(joined: tuple[str, ...] = ()) -> Fast:
    """A token for each byte, and for each of `joined`, which are pairs of what is a token already."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<s>", "</s>", "<end>", *alphabet, *joined]
    merges = [(each[0], each[1:]) for each in joined]
    fast = Fast(models.BPE({name: place for place, name in enumerate(names)}, merges))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not joined)
    fast.decoder = decoders.ByteLevel()
    return fast


def save(folder: Path, fast: Fast, *, length: int = LENGTH, bos: bool = True, ends: Any = 1) -> Path:
    """Write a Transformers folder with a tiny random Llama."""
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": None} if bos else {}
    wrap: Any = PreTrainedTokenizerFast
    wrap(tokenizer_object=fast, **special).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config: Any = LlamaConfig
    tokens = {"bos_token_id": 0 if bos else None, "eos_token_id": 1 if bos else None}
    model: Any = LlamaForCausalLM(
        config(vocab_size=fast.get_vocab_size(), **sizes, max_position_embeddings=length, **tokens)
    )
    generation: Any = GenerationConfig
    model.generation_config = generation(bos_token_id=0, eos_token_id=ends)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of bytes that attends over 128 of them."""
    return save(tmp_path_factory.mktemp("models") / "small", byte_level())


def suite(folder: Path, **changed: Any) -> Path:
    """Write rows and a suite of the tasks that are named, with other fields."""
    for name, rows in (("questions", QUESTIONS), ("solved", SOLVED), ("pairs", PAIRS)):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    tasks = [{"name": name, **TASKS[name], **fields} for name, fields in changed.items()]
    path = folder / "suite.yaml"
    written = yaml.safe_dump({"name": "fits", "tasks": tasks}).replace("path: ", f"path: {folder}/")
    path.write_text(written, encoding="utf-8")
    return path


def reading(records: Path, task: str) -> dict[str, Any]:
    (path,) = records.glob(f"*/{task}/*.json")
    record: dict[str, Any] = json.loads(path.read_bytes())
    assert record["status"] == "done", record["reason"]
    return {name: value for name, value in record["reading"].items() if value}


def test_examples_that_do_not_fit_are_foreseen_counted_and_marked(
    model: Path, tmp_path: Path, tilbench: Tilbench
) -> None:
    asked = suite(tmp_path, letters=SHOTS)
    planned = tilbench("run", asked, "--models", model, "--dry-run", "--json")
    assert planned.out, planned.err
    foreseen = json.loads(planned.out)["reading"][str(model)]["letters"]
    # Prefix, instruction, question and all but the last byte of the letter take 1 + 9 + 33 + 1 tokens, an example 40.
    assert (foreseen["dropped_rows"], foreseen["dropped_examples"]) == (6, 6 * 3)
    assert "cut_rows" not in foreseen
    shown = tilbench("run", asked, "--models", model, "--dry-run").out
    assert "6 rows did not fit: 18 few-shot examples left out" in " ".join(shown.split())
    done = tilbench("run", asked, "--models", model, "--out", tmp_path / "records")
    assert done.status == 0, done.err
    assert "6 rows with fewer shots" in done.out
    del foreseen["said"]
    assert reading(tmp_path / "records", "letters") == foreseen


def test_a_task_can_ask_for_an_error_before_anything_is_computed(
    model: Path, tmp_path: Path, tilbench: Tilbench
) -> None:
    asked = suite(tmp_path, letters={**SHOTS, "truncation": "error"})
    planned = tilbench("run", asked, "--models", model, "--dry-run")
    assert planned.status == 1
    said = (
        "task letters says 'truncation: error', and in a model of 128 tokens 6 rows did not fit: 18 few-shot examples"
    )
    assert said in " ".join(planned.out.split())
    done = tilbench("run", asked, "--models", model, "--out", tmp_path / "records")
    assert done.status != 0
    assert said in " ".join((done.out + done.err).split())
    assert not list((tmp_path / "records").rglob("*.json"))
    fitting = suite(tmp_path, letters={**SHOTS, "shots": 1, "truncation": "error"})
    assert tilbench("run", fitting, "--models", model, "--out", tmp_path / "records").status == 0


@pytest.mark.parametrize("task", ["letters", "words"])
def test_rows_whose_instruction_leaves_no_room_do_not_fit(
    task: str, model: Path, tmp_path: Path, tilbench: Tilbench
) -> None:
    """Where `allow` leaves the rows out, `error` stops; both kinds of request, dry and not."""
    long = {"settings": {"instruction": "Answer! " * 16}}
    planned = tilbench("run", suite(tmp_path, **{task: long}), "--models", model, "--dry-run", "--json")
    rows = {"letters": 6, "words": 4}[task]
    assert json.loads(planned.out)["reading"][str(model)][task]["too_long_rows"] == rows
    strict = suite(tmp_path, **{task: {**long, "truncation": "error"}})
    for flags in (["--dry-run"], []):
        stopped = tilbench("run", strict, "--models", model, "--out", tmp_path / "records", *flags)
        assert stopped.status != 0
        assert f"{rows} rows did not fit: the instruction leaves no room" in " ".join(
            (stopped.out + stopped.err).split()
        )
    assert not list((tmp_path / "records").rglob("*.json"))


def test_a_task_of_another_harness_can_ask_for_the_error_too(model: Path, tmp_path: Path, tilbench: Tilbench) -> None:
    pytest.importorskip("lm_eval")
    entry = {"task": "capitals", "shots": 5}
    stated = []
    for fields in ({}, {"truncation": "error"}):
        (tmp_path / "suite.yaml").write_text(
            yaml.safe_dump({"name": "b", "lm_eval": [{**entry, **fields}], "lm_eval_include": [str(LM_EVAL_TASKS)]})
        )
        where = ("--data", LM_EVAL_TASKS, "--out", tmp_path / "records")
        done = tilbench("run", tmp_path / "suite.yaml", "--models", model, *where)
        stated.append((done.status, " ".join((done.out + done.err).split())))
    assert stated[0][0] == 0, stated
    assert stated[1][0] != 0
    assert "task capitals says 'truncation: error', and in a model of 128 tokens 14 rows did not fit" in stated[1][1]


def test_asking_for_an_error_is_another_task(tmp_path: Path, tilbench: Tilbench) -> None:
    prints = []
    for fields in ({}, {"truncation": "allow"}, {"truncation": "error"}):
        planned = tilbench(
            "run", suite(tmp_path, letters={**SHOTS, **fields}), "--models", "uniform-bytes", "--dry-run", "--json"
        )
        prints.append(json.loads(planned.out)["tasks"][0]["fingerprint"])
    assert prints[0] == prints[1] != prints[2]


def test_a_prompt_is_whole_where_more_new_tokens_are_asked_for_than_the_model_has(
    model: Path, tmp_path: Path, tilbench: Tilbench
) -> None:
    """The prompt of 25 bytes and the prefix leave 102 of 128 tokens, not one token of prompt."""
    asked = suite(tmp_path, words={"settings": {"max_new_tokens": LENGTH, "stop": []}})
    planned = tilbench("run", asked, "--models", model, "--dry-run", "--json")
    foreseen = json.loads(planned.out)["reading"][str(model)]["words"]
    assert foreseen["short_rows"] == 4
    assert "cut_rows" not in foreseen
    tilbench("run", asked, "--models", model, "--out", tmp_path / "records")
    (path,) = (tmp_path / "records").glob("*/words/*.json")
    found = json.loads(path.read_bytes())["reading"]
    assert found["cut_rows"] == found["dropped_rows"] == 0


def test_the_shipped_correction_task_keeps_its_prompts_in_a_tiny_model(model: Path, tilbench: Tilbench) -> None:
    """Three examples of Kazakh sentences are more than 128 bytes."""
    planned = tilbench("run", "kazakh-generation", "--tasks", "correction-kk", "--models", model, "--dry-run", "--json")
    content = json.loads(planned.out)
    found = content["reading"][str(model)]["correction-kk"]
    rows = content["tasks"][0]["rows"]
    assert found["dropped_rows"] == rows
    assert found["dropped_examples"] == 3 * rows


def test_a_token_over_the_join_concerns_no_other_row(tmp_path: Path, tilbench: Tilbench) -> None:
    """A vocabulary with the token ": A" scores both letters; " B" is cut where it was."""
    fast = Fast(
        models.BPE(
            {name: place for place, name in enumerate(["<s>", "</s>", *CHARACTERS, "▁A", ":▁A"])},
            [("▁", "A"), (":", "▁A")],
        )
    )
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    folder = save(tmp_path / "joined", fast)
    done = tilbench("run", suite(tmp_path, letters={}), "--models", folder, "--out", tmp_path / "records")
    assert done.status == 0, done.err
    assert "unanswered" not in reading(tmp_path / "records", "letters")


CHARACTERS = sorted({"▁", "\n", *map(str, range(10)), *"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz:?)+.,"})


@pytest.mark.parametrize("way", ["run", "lm_eval"])
def test_every_end_token_of_the_folder_ends_a_text(way: str, tmp_path: Path, host: Any) -> None:
    """A text ends at whichever end comes first, and a folder that lists another end is another model."""
    from tilbench.config.decoding import Decoding
    from tilbench.kinds.language_model import OpenOptions
    from tilbench.kinds.requests import Generation

    loader = host.registry.loaders.get("huggingface")
    family = host.registry.tokenizers.get("huggingface")
    options = OpenOptions(load_tokenizer=family.load)
    plain, listed = save(tmp_path / "plain", byte_level()), tmp_path / "listed"
    request = Generation("abc", Decoding(max_new_tokens=8))

    def answer(folder: Path) -> Any:
        if way == "run":
            ((pair,),) = loader.open(str(folder), options).answer([request])
            return pair[1].text
        from lm_eval.api.instance import Instance

        from tilbench_lm_eval.model import TilbenchLM

        asked = ("abc", {"until": [], "max_gen_toks": 8, "do_sample": False})
        instance = Instance(request_type="generate_until", doc={}, arguments=asked, idx=0)
        (text,) = TilbenchLM(str(folder), device="cpu").generate_until([instance])
        return text

    whole = answer(plain)
    first = family.load(str(plain)).encode(whole)[0]
    save(listed, byte_level(), ends=[1, first])
    assert whole
    assert answer(listed) == ""
    assert loader.card(str(plain), options).fingerprint != loader.card(str(listed), options).fingerprint


@pytest.mark.parametrize("prefix", ["", "bos", "eos", "none"])
def test_the_prefix_is_part_of_a_models_fingerprint(prefix: str, model: Path, host: Any) -> None:
    from tilbench.kinds.language_model import OpenOptions

    loader, family = (host.registry.kind(kind).get("huggingface") for kind in ("loaders", "tokenizers"))
    cards = {
        each: loader.card(str(model), OpenOptions(load_tokenizer=family.load, prefix=each))
        for each in ("", "bos", "eos", "none")
    }
    others = [card for name, card in cards.items() if card.prefix != cards[prefix].prefix]
    assert others
    assert all(card.fingerprint != cards[prefix].fingerprint for card in others)


def test_a_comparison_says_that_one_of_two_models_read_without_a_prefix(tmp_path: Path, tilbench: Tilbench) -> None:
    """The same weights under two prefixes: the bytes are the same, and so is the number of scored tokens."""
    folders = [save(tmp_path / name, byte_level()) for name in ("begun", "bare")]
    lines = [json.dumps({"id": f"d{place}", "text": "abc " * (place + 5)}) for place in range(8)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    dataset = {"path": str(tmp_path / "texts.jsonl"), "kind": "documents"}
    task = {"name": "text", "metric": "bpb", "dataset": dataset, "language": "en-Latn"}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"name": "fits", "tasks": [task]}), encoding="utf-8")
    for folder, prefix in zip(folders, ([], ["--prefix", "none"]), strict=True):
        out = tmp_path / "records"
        assert tilbench("run", tmp_path / "suite.yaml", "--models", folder, "--out", out, *prefix).status == 0
    compared = tilbench("compare", *folders, "--records", tmp_path / "records")
    assert "the prefix before a text differs: " in compared.out, compared.err
    assert "none for " in compared.out
    tokens = {json.loads(path.read_bytes())["measured"]["tokens"] for path in (tmp_path / "records").rglob("*.json")}
    assert tokens == {sum(4 * (place + 5) for place in range(8))}


@pytest.mark.parametrize("decoder", [True, False])
def test_a_tokenizer_without_a_decoder_is_named_where_its_lost_bytes_leave_no_value(
    decoder: bool, tmp_path: Path, tilbench: Tilbench
) -> None:
    fast = byte_level()
    if not decoder:
        content = json.loads(fast.to_str())
        fast = Fast.from_str(json.dumps({**content, "decoder": None}))
    folder = save(tmp_path / "model", fast)
    (tmp_path / "texts.jsonl").write_text(json.dumps({"id": "d", "text": "abc def ghi"}), encoding="utf-8")
    dataset = {"path": str(tmp_path / "texts.jsonl"), "kind": "documents"}
    task = {"name": "text", "metric": "bpb", "dataset": dataset, "language": "en-Latn"}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"name": "fits", "tasks": [task]}), encoding="utf-8")
    tilbench("run", tmp_path / "suite.yaml", "--models", folder, "--out", tmp_path / "records")
    (path,) = (tmp_path / "records").rglob("text/*.json")
    record = json.loads(path.read_bytes())
    assert record["status"] == ("done" if decoder else "n/a")
    assert ("its tokenizer.json has no decoder" in record["reason"]) == (not decoder)
