"""Bytes that a tokenizer loses are found exactly, and cost a model 8 bits each wherever a text is scored."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Fast
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tilbench.errors import Unsupported
from tilbench.kinds.language_model import OpenOptions
from tilbench.kinds.requests import (
    Answer,
    Continuation,
    Document,
    Generated,
    Generation,
    Likelihood,
    NextWord,
    Ranked,
    Request,
    TokenIds,
    Tokens,
    Unanswered,
)
from tilbench.kinds.tokenizer import Tokenizer, ids_beyond
from tilbench.loader import Host
from tilbench.resolve.datasets import documents
from tilbench.scoring.encode.lost import common_bytes, lost_after, lost_bytes
from tilbench.scoring.encode.prefix import Prefix
from tilbench.scoring.encode.reader import Read, Reader

KAZAKH = "Абай — ұлы ақын, ойшыл.\nОның өлеңдерін бүгін де оқиды; 1845 жылы туған."
BITS = math.log(2)
LATIN = "abcdefghijklmnopqrstuvwxyz"


def word_level() -> Fast:
    words = ["[UNK]", "бір", "екі", "үш", "төрт", "бес"]
    fast = Fast(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    return fast


def word_piece() -> Fast:
    """English letters and punctuation: a word with any other letter is one unknown token."""
    pieces = ["[UNK]", *LATIN, *(f"##{letter}" for letter in LATIN), *"0123456789.,;", *(f"##{n}" for n in range(10))]
    fast = Fast(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.decoder = decoders.WordPiece()
    return fast


def spaced_letters() -> Fast:
    """Letters without a decoder: decoding puts a space between all of them, and the text's own spaces are lost."""
    fast = Fast(models.BPE({letter: place for place, letter in enumerate("абвгдеж")}, []))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    return fast


def byte_level(normalizer: Any = None) -> Fast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast = Fast(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    if normalizer is not None:
        fast.normalizer = normalizer
    return fast


def metaspace(prepend: str) -> Fast:
    """SentencePiece's way with spaces: its decoder drops one at the beginning."""
    letters = ["▁", *dict.fromkeys(KAZAKH + LATIN)]
    fast = Fast(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=False)
    fast.decoder = decoders.Metaspace(prepend_scheme="always")
    return fast


MAKERS: dict[str, Callable[[], Fast]] = {
    "five words": word_level,
    "English pieces": word_piece,
    "lower case": lambda: byte_level(normalizers.Lowercase()),
    "no vowels": lambda: byte_level(normalizers.Replace(Regex("[аеоыіөүұaeiou]"), "")),
    "spaced letters": spaced_letters,
    "whole": byte_level,
    "spaces before": lambda: metaspace("always"),
    "no space before": lambda: metaspace("never"),
}


@lru_cache
def folder_of(name: str, place: Path) -> Path:
    """Write a Transformers folder with a random Llama and this tokenizer."""
    fast = MAKERS[name]()
    fast.add_special_tokens([AddedToken("<s>"), AddedToken("</s>")])
    wrap: Any = PreTrainedTokenizerFast
    wrap(tokenizer_object=fast, bos_token="<s>", eos_token="</s>").save_pretrained(place)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config: Any = LlamaConfig
    model: Any = LlamaForCausalLM(
        config(vocab_size=fast.get_vocab_size(), **sizes, max_position_embeddings=64, bos_token_id=None)
    )
    model.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that names the model folder with a tokenizer."""
    root = tmp_path_factory.mktemp("models")
    return lambda name: folder_of(name, root / name.replace(" ", "-"))


@pytest.fixture(scope="module")
def tokenizers(host: Host, folders: Callable[[str], Path]) -> Callable[[str], Tokenizer]:
    """Return a function that loads a tokenizer as any folder's is."""
    family = host.registry.tokenizers.get("huggingface")
    return lru_cache(lambda name: family.load(str(folders(name))))


@pytest.fixture(scope="module")
def models_of(host: Host, folders: Callable[[str], Path]) -> Callable[[str], Any]:
    """Return a function that opens the model of a folder."""
    loader = host.registry.loaders.get("huggingface")
    family = host.registry.tokenizers.get("huggingface")
    return lru_cache(lambda name: loader.open(str(folders(name)), OpenOptions(load_tokenizer=family.load)))


def ask(model: Any, *requests: Request) -> list[Answer]:
    answers = {request: answer for batch in model.answer(list(dict.fromkeys(requests))) for request, answer in batch}
    return [answers[request] for request in requests]


def size(text: str) -> int:
    return len(text.encode())


def heaviest(one: str, other: str) -> int:
    """The textbook's table, with a character's weight its bytes."""
    row = [0] * (len(other) + 1)
    for a in one:
        above, row = row, [0]
        for place, b in enumerate(other):
            best = above[place] + size(a) if a == b else 0
            row.append(max(best, above[place + 1], row[-1]))
    return row[-1]


@given(st.text("abғқ—😀 ", max_size=14), st.text("abғқ—😀 ", max_size=14))
def test_common_bytes_are_those_of_the_textbooks_table(one: str, other: str) -> None:
    assert common_bytes(one, other) == heaviest(one, other)


@pytest.mark.parametrize(
    ("name", "text", "lost"),
    [
        ("five words", "бір алма екі", size("алма ")),
        ("five words", "алма", size("алма")),
        ("five words", "[UNK] бір UNK", size("[UNK] ") + size(" UNK")),
        ("English pieces", "the алма tree", size("алма ")),
        ("spaced letters", "а б в", 0),
        ("spaced letters", "абв где", 4),  # "а б в г д е": five spaces for one
        ("spaced letters", "а  б", 1),
        ("English pieces", "to be, or not  to be", 1),
        ("lower case", "ҚАЗАҚ тілі", size("ҚАЗАҚ")),
        ("lower case", "қазақ тілі", 0),
        ("no vowels", "Абай ұлы", size("аұы")),
        ("whole", "Абай\u0301 😀 \ufffd\n ", 0),
        ("spaces before", "абай", 0),
        ("spaces before", " абай", 1),
        ("no space before", " абай", 0),
        ("no space before", "абай", 0),
        ("no space before", " абай Ғ", size("Ғ")),
        ("whole", "", 0),
    ],
)
def test_lost_bytes_of_a_text(tokenizers: Any, name: str, text: str, lost: int) -> None:
    tokenizer = tokenizers(name)
    assert lost_bytes(tokenizer, text, tokenizer.encode(text)) == lost


@pytest.mark.parametrize("name", ["five words", "lower case", "no vowels"])
def test_a_long_text_loses_what_its_parts_lose_in_linear_time(
    tokenizers: Any, name: str, growth: Callable[[Callable[[int], object], int], float]
) -> None:
    tokenizer, part = tokenizers(name), "Бір АЛМА екі. " * 10

    def lost(times: int) -> int:
        text = part * times
        return lost_bytes(tokenizer, text, tokenizer.encode(text))

    assert lost(1000) == pytest.approx(1000 * lost(1), rel=0.01)
    assert growth(lost, 1000) < 30


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize(("context", "text"), [("Бір екі алма", " алма үш"), ("the tree. Ой", " Ой is"), ("", "Абай")])
def test_what_a_continuation_loses_is_its_own(tokenizers: Any, name: str, context: str, text: str) -> None:
    """A word of the context does not stand in for the same word, lost, of the continuation."""
    tokenizer = tokenizers(name)
    whole, before = tokenizer.encode(context + text), tokenizer.encode(context)
    lost = lost_after(tokenizer, text, whole, len(before))
    alone = lost_bytes(tokenizer, text, tokenizer.encode(text))
    assert alone - 1 <= lost <= alone + 1  # a space at the beginning may be lost in one of them


def test_a_token_over_the_join_gives_nothing_away(host: Host, tmp_path: Path) -> None:
    """A vocabulary with ":▁A": after "Жауап:" both letters are scored, each encoded alone."""
    letters = ["▁", *dict.fromkeys("Жауап:ABy"), ":▁", ":▁A"]
    fast = Fast(models.BPE({piece: place for place, piece in enumerate(letters)}, [(":", "▁"), (":▁", "A")]))
    fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    fast.decoder = decoders.Metaspace(prepend_scheme="never")
    wrap: Any = PreTrainedTokenizerFast
    wrap(tokenizer_object=fast).save_pretrained(tmp_path)
    tokenizer = host.registry.tokenizers.get("huggingface").load(str(tmp_path))
    requests = [Continuation("Жауап:", " A"), Continuation("Жауап:", " B"), Continuation("Жауап:", " Ay")]
    reader = Reader(tokenizer, Prefix(None, False, "none"), 64, tokenizer.size)
    found = [each for _, each in reader.likelihoods(requests) if isinstance(each, Read)]
    pairs = [pair for each in found for pair in each.pairs]
    assert [tokenizer.decode(targets) for _, targets in pairs] == [" A", " B", " Ay"]
    assert [tokenizer.decode(context) for context, _ in pairs] == ["Жауап:"] * 3
    assert [each.lost for each in found] == [0, 0, 0]


LOSSY = ["five words", "English pieces", "lower case", "no vowels"]
some_text = st.text("абОҚ екі TREE tree,.1\n", min_size=1, max_size=40).filter(str.strip)


@pytest.mark.parametrize("name", LOSSY)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(context=some_text, text=some_text)
def test_no_lossy_tokenizer_beats_eight_bits_on_what_it_lost(
    models_of: Any, name: str, context: str, text: str
) -> None:
    model = models_of(name)
    requests: list[Request] = [Document(text), Continuation(context, f" {text}"), NextWord(context, text)]
    for answer in ask(model, *requests):
        if not isinstance(answer, Unanswered):
            assert isinstance(answer, Likelihood | Ranked)
            assert -answer.logprob / BITS >= 8 * answer.lost - 1e-6
            assert not (answer.lost and getattr(answer, "greedy", False))


def test_a_lost_byte_costs_eight_bits_more_than_its_tokens(models_of: Any, tokenizers: Any) -> None:
    model, tokenizer = models_of("five words"), tokenizers("five words")
    known, lossy = ask(model, Document("бір екі"), Document("бір екі алма"))
    assert isinstance(known, Likelihood)
    assert isinstance(lossy, Likelihood)
    assert (known.lost, lossy.lost) == (0, size(" алма"))
    ids = tokenizer.encode("бір екі алма")
    with torch.inference_mode():
        states = model._decoder.hidden(torch.tensor([[tokenizer.special.bos, *ids]]))
        logits = model._decoder.project(states)[0].double().log_softmax(-1)
    plain = float(sum(logits[place, token] for place, token in enumerate(ids)))
    assert lossy.logprob == pytest.approx(plain - lossy.lost * 8 * BITS, abs=1e-4)


def test_a_text_that_leaves_no_token_costs_its_bytes_and_is_not_greedy(models_of: Any) -> None:
    (answer,) = ask(models_of("no vowels"), Document("аоа"))
    assert answer == Likelihood(-6 * 8 * BITS, 0, greedy=False, lost=6)


def test_a_lost_target_has_the_last_rank(models_of: Any) -> None:
    model = models_of("five words")
    known = ask(model, *(NextWord("бір", word) for word in ("бір", "екі", "үш", "төрт", "бес")))
    lost = ask(model, *(NextWord(context, "алма") for context in ("бір", "екі", "үш")))
    assert len({answer.rank for answer in known if isinstance(answer, Ranked)}) == 5
    assert {answer.rank for answer in lost if isinstance(answer, Ranked)} == {model._decoder.vocab_size}


def test_the_contexts_losses_are_told_apart(models_of: Any) -> None:
    model = models_of("five words")
    choice, text = ask(model, Continuation("бір алма", " екі"), Generation("бір алма"))
    assert isinstance(choice, Likelihood)
    assert isinstance(text, Generated)
    assert (choice.lost, choice.lost_context) == (0, size(" алма")) == (text.lost, text.lost_context)
    (ids,) = ask(model, Tokens("бір алма"))
    assert isinstance(ids, TokenIds)


@pytest.mark.parametrize("special", [True, False])
def test_a_token_beyond_the_embedding_concerns_texts_that_have_it_only(
    tmp_path: Path, folders: Any, host: Host, special: bool
) -> None:
    """As of google/gemma-3-270m, whose token for images has an id more than the embedding has rows."""
    loader, family = host.registry.loaders.get("huggingface"), host.registry.tokenizers.get("huggingface")
    shutil.copytree(folders("whole"), tmp_path / "more")
    path = tmp_path / "more" / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    rows = max(token["id"] for token in content["added_tokens"]) + 1
    content["added_tokens"].append({"id": rows, "content": "<pad>", "special": special, **flags})
    path.write_text(json.dumps(content), encoding="utf-8")
    tokenizer = family.load(str(tmp_path / "more"))
    reason = f"the tokenizer has {rows + 1:,} ids and the embedding {rows:,} rows"
    assert (tokenizer.size, ids_beyond(tokenizer, rows)) == (rows + 1, "" if special else reason)
    requests: list[Request] = [Document("Абай"), Continuation("Абай", " ақын"), Generation("Абай")]
    for prefix in ("none", ""):  # with none, the first token costs a choice out of the ids that have rows
        options = OpenOptions(load_tokenizer=family.load, prefix=prefix)
        more, whole = (loader.open(str(folder), options) for folder in (tmp_path / "more", folders("whole")))
        assert ask(more, *requests) == ask(whole, *requests)
    (spelled,) = ask(more, Document("a <pad> b"))
    assert isinstance(spelled, Likelihood if special else Unanswered)
    if isinstance(spelled, Unanswered):
        assert spelled.reason == f"its text has the token id {rows}, and the embedding {rows} rows"


SUITE = """
name: small
tasks:
  - {name: text, metric: bpb, dataset: text/kk/heldout, limit: 4}
  - {name: exam, metric: choice, dataset: questions/kk/test, settings: {form: cloze}, limit: 5}
  - {name: probes, metric: probe, dataset: probes/kk}
"""


@pytest.mark.parametrize("name", ["five words", "English pieces"])
def test_a_task_whose_text_a_model_cannot_read_is_not_applicable(
    tmp_path: Path, tilbench: Any, folders: Any, name: str
) -> None:
    (tmp_path / "small.yaml").write_text(SUITE, encoding="utf-8")
    outcome = tilbench("run", tmp_path / "small.yaml", "--models", folders(name), "--out", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "out").glob("small/*/*.json")]
    assert len(found) == 3
    for record in found:
        assert (record["status"], record["values"]) == ("n/a", {})
        share = record["reading"]["lost_bytes"] / record["reading"]["scored_bytes"]
        assert f"do not reproduce {share:.1%}" in record["reason"]
        assert "'tilbench tokenizer report' shows what is lost" in record["reason"]
        assert share > 0.5
    assert tilbench("records", "verify", tmp_path / "out").status == 0
    (path,) = (tmp_path / "out").glob("small/text/*.json")
    value = {"value": 0.2, "n": 4, "unit": "bits/byte", "direction": "lower"}
    edited = json.loads(path.read_text(encoding="utf-8")) | {"status": "done", "reason": "", "values": {"bpb": value}}
    path.write_text(json.dumps(edited), encoding="utf-8")
    outcome = tilbench("records", "verify", path)
    assert outcome.status == 1
    assert "has values, although the model's tokens do not reproduce" in outcome.out


def test_a_small_share_is_charged_and_shown(tmp_path: Path, tilbench: Any, folders: Any) -> None:
    """Lower case costs a sentence its first letter: below the limit the value stands, with the share beside it."""
    sentence = "Б" + "абай ұлы ақын болған " * 12 + "\n\n"
    (tmp_path / "texts.txt").write_text(sentence * 3, encoding="utf-8")
    suite = "name: small\ntasks: [{name: text, metric: bpb, dataset: {path: PATH, kind: documents}}]\n"
    suite = suite.replace("PATH", str(tmp_path / "texts.txt"))
    (tmp_path / "small.yaml").write_text(suite, encoding="utf-8")
    outcome = tilbench("run", tmp_path / "small.yaml", "--models", folders("lower case"), "--out", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    (path,) = (tmp_path / "out/small/text").glob("*.json")
    reading = json.loads(path.read_text(encoding="utf-8"))["reading"]
    assert 0 < reading["lost_bytes"] / reading["scored_bytes"] < 0.01
    assert "of the scored bytes are not in the model's tokens" in " ".join(outcome.out.split())
    assert tilbench("records", "verify", path).status == 0


def test_lm_eval_gets_the_charge_and_no_number_of_another_text(folders: Any) -> None:
    """The harness has no "n/a", so a task whose text the tokens lose is an error that names it."""
    from tilbench_lm_eval.model import TilbenchLM

    def asked(task: str, *texts: str) -> list[Any]:
        return [SimpleNamespace(args=("", text), task_name=task) for text in texts]

    model = TilbenchLM(checkpoint=str(folders("lower case")), device="cpu")
    long = " екі үш" * 40
    with pytest.warns(UserWarning, match=r"on long: 0\.\d% of the scored bytes are not in the model's tokens"):
        (small, _), (first, greedy) = model.loglikelihood(asked("long", f"б{long}", f"Б{long}"))
    assert first == pytest.approx(small - 2 * 8 * BITS, abs=1e-4)
    assert greedy is False
    with pytest.raises(Unsupported, match=r"lower-case has no value on upper: .* do not reproduce 85\.7%"):
        model.loglikelihood([*asked("long", f"б{long}"), *asked("upper", " БІР")])


def test_registered_tokenizers_lose_no_byte_of_the_sample_texts(host: Host) -> None:
    """Each that can be opened or trained here, on every language's texts; those that lose some say so."""
    registry = host.registry
    names = [name for name in registry.datasets.names() if name.startswith("text/") and name.endswith("/train")]
    names = [name for name in names if registry.datasets.get(name).package]
    texts = {name: [row.text for row in documents(name, registry, None)[1]] for name in names}
    assert len(texts) >= 6
    checked = []
    for entry in registry.tokenizers.entries():
        family = registry.tokenizers.get(entry.name)
        if not family.trainable and not family.recognises(entry.name):
            continue
        everything = [text for each in texts.values() for text in each]
        tokenizer = family.train(everything, {"vocab_size": 600}) if family.trainable else family.load(entry.name)
        lost = sum(lost_bytes(tokenizer, text, tokenizer.encode(text)) for text in everything)
        assert (lost == 0) == getattr(family, "lossless", True), (entry.name, lost)
        checked.append(entry.name)
    assert {"bytes", "bpe"} <= set(checked)
