"""Every tokenizer family: what goes in comes out, the reference library agrees, and nothing extra is counted."""

from __future__ import annotations

import base64
import gzip
import inspect
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tilbench_tokenizers
from tilbench.errors import CheckpointError, ConfigError, DataError, TilbenchError, UnknownName, Unsupported
from tilbench.evaluation.tokenizer_report import parity, report_on
from tilbench.kinds.tokenizer import SpecialTokens, Tokenizer, TokenizerFamily
from tilbench_tokenizers import byte_pairs
from tilbench_tokenizers.fast import byte_alphabet
from tilbench_tokenizers.huggingface import HuggingFace
from tilbench_tokenizers.mistral import Mistral, shipped
from tilbench_tokenizers.pieces import SentencePiece
from tilbench_tokenizers.ranks import SCHEMES, Tiktoken
from tilbench_tokenizers.raw import Bytes
from tilbench_tokenizers.trained import ByteLevelBPE, Til, TilOptions, TrainedFamily, Unigram, WordPiece

TEXTS = [
    "Қазақстан Республикасы — Орталық Азиядағы мемлекет. Балаларымыздың үйлері 2024 жылы үлкен болды.",
    "Ankara'da İstanbul'dan gelen öğrenciler ığdır çiçeklerini gördü; 3,14 lira ödedi.",
    "Москва — столица России, и её жители любят читать книги по вечерам.",
    "The quick brown fox doesn't jump over 1234567890 lazy dogs, twice.\n\n\tdef f(x): return x",
    "La capitale d'Italia è Roma, perché così è scritto 😀 🇰🇿.",
]
CORPUS = TEXTS * 4
LOSSLESS = ("bpe", "unigram", "til", "bytes", "tiktoken", "huggingface", "tekken")
TRAINED: list[type[TrainedFamily]] = [ByteLevelBPE, Unigram, WordPiece, Til]


def rank_lines(merges: Sequence[bytes] = ()) -> bytes:
    """Write a tiny rank file: the 256 bytes in GPT-2's order of no importance, then `merges`."""
    tokens = [bytes([b]) for b in range(256)] + list(merges)
    return b"\n".join(base64.b64encode(t) + b" %d" % i for i, t in enumerate(tokens)) + b"\n"


MERGES = (b" t", b"he", b" the", "қ".encode(), "аз".encode(), " Қ".encode(), "қаз".encode())


def sentencepiece_model(**options: Any) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, minloglevel=2, hard_vocab_limit=False,
        **{"vocab_size": 420, "byte_fallback": True, "character_coverage": 0.99} | options,
    )  # fmt: skip
    return model.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[TokenizerFamily, Tokenizer]]:
    """One tokenizer of every family, and of both kinds of Mistral."""
    root = tmp_path_factory.mktemp("tokenizers")
    (root / "tiny.tiktoken").write_bytes(rank_lines(MERGES))
    (root / "tiny.model").write_bytes(sentencepiece_model())
    made: dict[str, tuple[TokenizerFamily, Tokenizer]] = {}
    for family in TRAINED:
        made[family.name] = (family(), family().train(CORPUS, {"vocab_size": 600, "min_frequency": 1}))
    (root / "folder").mkdir()
    made["bpe"][1].save(root / "folder")
    (root / "folder" / "tokenizer_family.json").unlink()
    references: dict[str, tuple[TokenizerFamily, str]] = {
        "bytes": (Bytes(), "bytes"),
        "tiktoken": (Tiktoken(), f"{root}/tiny.tiktoken#cl100k_base"),
    }
    references |= {"sentencepiece": (SentencePiece(), f"{root}/tiny.model"), "mistral": (Mistral(), "mistral:v3")}
    references |= {"huggingface": (HuggingFace(), f"{root}/folder"), "tekken": (Mistral(), "mistral:tekken_240911")}
    return made | {name: (family, family.load(ref)) for name, (family, ref) in references.items()}


NAMES = ("bpe", "unigram", "wordpiece", "til", "bytes", "tiktoken", "sentencepiece", "huggingface", "mistral", "tekken")
every = pytest.mark.parametrize("name", NAMES)
Made = dict[str, tuple[TokenizerFamily, Tokenizer]]


def test_every_registered_family_keeps_the_protocol_and_is_tested_here(made: Made) -> None:
    found: dict[str, str] = {}
    tilbench_tokenizers.register_tokenizers(lambda name, target, summary="": found.update({name: target}))
    assert set(found) == set(NAMES) - {"tekken"}
    for name, target in found.items():
        module, _, attribute = target.partition(":")
        assert isinstance(made[name][0], getattr(sys.modules[module], attribute))
        assert isinstance(made[name][0], TokenizerFamily)
        assert isinstance(made[name][1], Tokenizer)
        assert made[name][1].family == name


def test_registering_imports_no_library() -> None:
    code = "import sys, tilbench_tokenizers; print({'tokenizers', 'tiktoken', 'numpy'} & set(sys.modules))"
    assert run(code) == "set()"


@every
@pytest.mark.parametrize("text", TEXTS)
def test_texts_come_back(made: Made, name: str, text: str) -> None:
    tokenizer = made[name][1]
    ids = tokenizer.encode(text)
    assert all(0 <= i < tokenizer.size for i in ids)
    assert tokenizer.encode_batch([text, "", text]) == [ids, [], ids]
    if name in LOSSLESS:
        assert tokenizer.decode(ids) == text
    elif name == "wordpiece":  # white space is lost, letters are not
        assert "".join(tokenizer.decode(ids).split()) == "".join(text.split())
    else:
        assert " ".join(tokenizer.decode(ids).split()) == " ".join(text.split())
    assert tokenizer.decode([*ids, tokenizer.size + 7, *filter(None, [tokenizer.special.eos])]) == tokenizer.decode(ids)


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_byte_of_utf8_comes_back(made: Made, name: str) -> None:
    tokenizer = made[name][1]
    points = [*range(0x800), *range(0x800, 0xD800, 97), *range(0xE000, 0x110000, 997)]
    text = "".join(map(chr, points))
    kept = text.replace("\x1f", "") if name == "til" else text
    assert tokenizer.decode(tokenizer.encode(text)) == kept
    assert tokenizer.unknown(tokenizer.encode(text)) == 0


@pytest.mark.parametrize("name", LOSSLESS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text())
def test_any_text_comes_back(made: Made, name: str, text: str) -> None:
    tokenizer = made[name][1]
    expected = text.replace("\x1f", "") if name == "til" else text
    assert tokenizer.decode(tokenizer.encode(text)) == expected


@every
def test_saved_and_loaded_is_the_same_in_another_process(made: Made, name: str, tmp_path: Path) -> None:
    family, tokenizer = made[name]
    tokenizer.save(tmp_path)
    again = family.load(str(tmp_path))
    assert (again.fingerprint, again.size, again.special) == (
        tokenizer.fingerprint, tokenizer.size, tokenizer.special,
    )  # fmt: skip
    assert again.encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)
    assert json.loads((tmp_path / "tokenizer_family.json").read_text())["family"] == tokenizer.family
    recognised = [n for n in NAMES if made[n][0].recognises(str(tmp_path)) and n != "tekken"]
    assert recognised == [tokenizer.family]
    module, cls = type(family).__module__, type(family).__name__
    code = (
        f"from {module} import {cls}; t={cls}().load({str(tmp_path)!r}); print(t.fingerprint, t.encode({TEXTS[0]!r}))"
    )
    assert run(code) == f"{tokenizer.fingerprint} {tokenizer.encode(TEXTS[0])}"


@pytest.mark.parametrize("family", TRAINED)
def test_training_is_deterministic_across_processes(family: type[TrainedFamily], made: Made) -> None:
    code = (
        f"from tilbench_tokenizers.trained import {family.__name__} as F; "
        f"print(F().train({CORPUS!r}, {{'vocab_size': 600, 'min_frequency': 1}}).fingerprint)"
    )
    assert {run(code), run(code)} == {made[family.name][1].fingerprint}


@every
def test_a_special_token_in_a_text_is_ordinary(made: Made, name: str) -> None:
    tokenizer = made[name][1]
    special = {i for i in (tokenizer.special.bos, tokenizer.special.eos, tokenizer.special.pad) if i is not None}
    for spelled in ("</s>", "a <s>b</s>", "<pad>", "[BOS] x[EOS]", "<|endoftext|>", "<|im_start|>", "[INST]", "<unk>"):
        ids = tokenizer.encode(spelled)
        assert not special & set(ids), spelled
        if name != "wordpiece":
            assert tokenizer.decode(ids) == spelled


def test_til_layout(made: Made) -> None:
    content = made["til"][1].content["added_tokens"]  # type: ignore[attr-defined]
    ids = {token["content"]: token["id"] for token in content}
    fixed = {"<pad>": 0, "<s>": 1, "</s>": 2, "<|im_start|>": 6, "<|im_end|>": 7}
    assert {name: ids[name] for name in fixed} == fixed
    assert made["til"][1].special == SpecialTokens(bos=1, eos=2, pad=0)
    assert sum("reserved" in name for name in TilOptions().layout()) == 384
    assert sum("reserved" in name for name in TilOptions(vocab_size=4096).layout()) == 12
    assert not any("reserved" in name for name in TilOptions(reserved=0).layout())


def test_til_splits_digits_and_marks(made: Made) -> None:
    tokenizer = made["til"][1]
    assert len(tokenizer.encode("2024")) == 4
    assert tokenizer.encode("ба\x1fла") == tokenizer.encode("ба") + tokenizer.encode("ла")
    assert tokenizer.decode(tokenizer.encode("бала\x1fлар")) == "балалар"


@pytest.mark.parametrize("family", TRAINED)
def test_transformers_reads_the_saved_folder(made: Made, family: type[TrainedFamily], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = made[family.name][1]
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode(text)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id, theirs.unk_token_id) == (
        tokenizer.special.bos, tokenizer.special.eos, tokenizer.special.pad, tokenizer.special.unk,
    )  # fmt: skip


def test_sentencepiece_and_mistral_agree_with_their_libraries(made: Made, tmp_path: Path) -> None:
    import sentencepiece
    from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    theirs = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model())
    assert made["sentencepiece"][1].encode_batch(TEXTS) == [theirs.encode(text) for text in TEXTS]
    for name, cls in (("v3", SentencePieceTokenizer), ("tekken_240911", lambda p: Tekkenizer.from_file(p))):
        reference = cls(str(shipped()[name]))
        ours = made["mistral" if name == "v3" else "tekken"][1]
        for text in [*TEXTS, "</s> [INST]"]:
            ids = reference.encode(text, bos=False, eos=False)
            assert ours.encode(text) == ids
            assert ours.decode(ids) == reference.decode(ids)
        assert (ours.size, ours.special.bos, ours.special.eos) == (
            reference.n_words,
            reference.bos_id,
            reference.eos_id,
        )


def agrees_with_tiktoken(file: Path, scheme: str, reference: str, special: dict[str, int]) -> None:
    import tiktoken

    ours = Tiktoken().load(reference)
    entries = {base64.b64decode(t): int(r) for t, r in map(bytes.split, file.read_bytes().splitlines())}
    pattern = SCHEMES[scheme].pattern
    theirs = tiktoken.Encoding(name="x", pat_str=pattern, mergeable_ranks=entries, special_tokens=special)
    assert ours.encode_batch(TEXTS) == theirs.encode_ordinary_batch(TEXTS)
    assert (ours.size, ours.special) == (theirs.n_vocab, SpecialTokens(eos=theirs.eot_token))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tiktoken_agrees_with_its_library(scheme: str, tmp_path: Path) -> None:
    file = tmp_path / "tiny.tiktoken"
    file.write_bytes(rank_lines(MERGES))
    agrees_with_tiktoken(file, scheme, f"{file}#{scheme}", {"<|endoftext|>": 256 + len(MERGES)})


@pytest.mark.parametrize("scheme", ["r50k_base", "cl100k_base"])
def test_public_rank_files_agree_with_tiktoken(data_dir: Path, scheme: str) -> None:
    file = data_dir / "tokenizers" / f"{scheme}.tiktoken"
    agrees_with_tiktoken(file, scheme, str(file), dict(SCHEMES[scheme].special))


def test_the_other_regex_engine_splits_alike(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {name: made[name][1].encode_batch(TEXTS) for name in ("tiktoken", "tekken")}

    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("Max stack size exceeded for backtracking")

    for name, ids in expected.items():
        pairs: byte_pairs.BytePairs = made[name][1]._pairs  # type: ignore[attr-defined]
        monkeypatch.setattr(type(pairs._encoding), "encode_batch", refuse)
        monkeypatch.setattr(type(pairs._encoding), "encode", refuse)
        assert made[name][1].encode_batch(TEXTS) == ids


@every
@pytest.mark.parametrize("unit", ["a", "қ", "қазақ тілі ", " ", "!", "  \n"])
def test_a_megabyte_on_one_line_takes_linear_time(
    made: Made, name: str, unit: str, growth: Callable[[Callable[[int], object], int], float]
) -> None:
    line = unit * 1_000_000
    assert growth(lambda size: made[name][1].encode(line[:size]), 1_000_000) < 30


def test_saved_padding_truncation_and_templates_do_not_count(made: Made, tmp_path: Path) -> None:
    made["bpe"][1].save(tmp_path)
    (tmp_path / "tokenizer_family.json").unlink()
    content = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    before = HuggingFace().load(str(tmp_path))
    content["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 512}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>",
    }  # fmt: skip
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    content["post_processor"] = {
        "type": "TemplateProcessing", "single": [bos, text], "pair": [text],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }  # fmt: skip
    content["model"]["dropout"] = 0.5
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    after = HuggingFace().load(str(tmp_path))
    assert after.encode_batch(TEXTS) == before.encode_batch(TEXTS)
    content["model"]["dropout"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    assert HuggingFace().load(str(tmp_path)).fingerprint == before.fingerprint
    one, two = (report_on(t, TEXTS) for t in (before, after))
    assert (one.tokens, one.tokens_per_word_interval) == (two.tokens, two.tokens_per_word_interval)


def test_a_lattice_cannot_reach_special_pieces(tmp_path: Path) -> None:
    # T5 and XLM-R: special pieces score 0 in the unigram vocabulary, which makes them the best path there is
    pieces = [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], *([c, -5.0] for c in "▁</s>abc\n"), ["▁a", -2.0]]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [{"id": i, "content": c, "special": True, **flags} for i, c in enumerate(["<pad>", "</s>", "<unk>"])]
    added.append({"id": len(pieces), "content": "abc", "special": False, **flags})
    content = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "post_processor": None,
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {"type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": False},
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": {"content": "</s>"}, "unk_token": "<unk>"}')
    tokenizer = HuggingFace().load(str(tmp_path))
    assert tokenizer.special == SpecialTokens(eos=1, unk=2)
    ids = tokenizer.encode("a</s>")
    assert 1 not in ids
    assert tokenizer.decode(ids) == "a</s>"
    assert tokenizer.decode([*ids, 1, 0]) == "a</s>"
    assert tokenizer.encode("abc") == [len(pieces)]
    assert tokenizer.unknown(tokenizer.encode("aжc")) == 1
    assert tokenizer.size == len(pieces) + 1


def test_unknown_and_fallback_counts(made: Made) -> None:
    wordpiece, byte = made["wordpiece"][1], made["bytes"][1]
    assert wordpiece.unknown(wordpiece.encode("the 漢 fox")) == 1
    assert byte.byte_fallback(byte.encode("aқ")) == 2
    pieces = made["sentencepiece"][1]
    assert pieces.byte_fallback(pieces.encode("漢")) == 3
    assert pieces.unknown(pieces.encode("漢")) == 0
    bpe = made["bpe"][1]
    assert bpe.byte_fallback(bpe.encode("漢")) == 3
    assert bpe.byte_fallback(bpe.encode("the қазақ")) == 0


def test_byte_alphabet_is_the_librarys() -> None:
    from tokenizers import pre_tokenizers

    assert sorted(byte_alphabet()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(byte_alphabet().values()) == list(range(256))


def write(path: Path, content: bytes | str) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def ranks(content: bytes, scheme: str = "") -> Callable[[Path], object]:
    return lambda folder: Tiktoken().load(write(folder / "a.tiktoken", content) + scheme)


def pieces(content: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda folder: SentencePiece().load(write(folder / "a.model", content()))


def folder(content: str) -> Callable[[Path], object]:
    return lambda path: (write(path / "tokenizer.json", content), HuggingFace().load(str(path)))


def train(family: type[TrainedFamily], texts: Sequence[str] = TEXTS, **options: Any) -> Callable[[Path], object]:
    return lambda _: family().train(iter(texts), options)


def measure(texts: Sequence[str]) -> Callable[[Path], object]:
    return lambda _: report_on(Bytes().load("bytes"), texts)


BROKEN = '{"model": {"vocab": {}}, "added_tokens": []}'
CASES: list[tuple[str, type[TilbenchError], str, Callable[[Path], object]]] = [
    ("rank line", CheckpointError, "line 258", ranks(rank_lines([b"ab"]) + b"!! x\n")),
    ("rank cut", CheckpointError, "256 single bytes", ranks(b"\n".join(rank_lines().splitlines()[:99]))),
    ("rank twice", CheckpointError, "line 257: repeats", ranks(rank_lines() + b"YWI= 7\n")),
    ("rank scheme", CheckpointError, "FILE#SCHEME", ranks(rank_lines())),
    ("rank scheme's name", CheckpointError, "cl100k_base", ranks(rank_lines(), "#zz")),
    ("no file", CheckpointError, "cannot be read", lambda p: Tiktoken().load(str(p / "none.tiktoken"))),
    ("model cut", CheckpointError, "cut short", pieces(lambda: sentencepiece_model()[:3001])),
    ("model empty", CheckpointError, "no pieces", pieces(bytes)),
    ("no tokenizer.json", CheckpointError, "no tokenizer.json", lambda p: HuggingFace().load(str(p))),
    ("no folder", CheckpointError, "no folder", lambda p: HuggingFace().load(str(p / "none"))),
    ("bad json", CheckpointError, "line 1", folder("{")),
    ("no model", CheckpointError, "has no model", folder("{}")),
    ("odd model", CheckpointError, "no usable", folder(BROKEN)),
    ("bpe folder", CheckpointError, "no tokenizer.json", lambda p: ByteLevelBPE().load(str(p))),
    ("mistral name", UnknownName, "v3", lambda _: Mistral().load("mistral:v33")),
    ("vocab too small", ConfigError, "need 259", train(ByteLevelBPE, vocab_size=200)),
    ("til too small", ConfigError, "reserved", train(Til, vocab_size=260)),
    ("wordpiece too small", ConfigError, "alphabet", train(WordPiece, vocab_size=20)),
    ("no text", Unsupported, "no text", train(ByteLevelBPE, ())),
    ("blank texts", Unsupported, "no text", train(Unigram, ("", ""))),
    ("option", ConfigError, "'vocab_sise'", train(ByteLevelBPE, vocab_sise=1)),
    ("option value", ConfigError, "'vocab_size'", train(WordPiece, vocab_size="many")),
    ("word as special", ConfigError, "ordinary word", train(ByteLevelBPE, bos="the")),
    ("special twice", ConfigError, "named 2 times", train(ByteLevelBPE, bos="</s>")),
    ("not trainable", Unsupported, "loaded, never trained", lambda _: Tiktoken().train(TEXTS, {})),
    ("surrogate", DataError, "U+D800", lambda _: Bytes().load("bytes").encode("ab\ud800")),
    ("save", DataError, "cannot be saved", lambda p: Bytes().load("bytes").save(p / "none")),
    ("no words", DataError, "0 words", measure([" "])),
]


@pytest.mark.parametrize(("error", "says", "act"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_errors_are_one_line(error: type[Exception], says: str, act: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        act(tmp_path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_cut_between_two_fields_is_refused(tmp_path: Path) -> None:
    import sentencepiece

    data = sentencepiece_model(normalization_rule_name="identity")
    # the library takes a file that ends before its normalizer, and then encodes differently
    cuts = [n for n in range(1, len(data)) if sentencepiece_parses(sentencepiece, data[:n])]
    assert cuts, "the library refuses every cut by itself"
    for cut in cuts:
        with pytest.raises(CheckpointError, match="has no normalizer: it is cut short"):
            SentencePiece().load(write(tmp_path / "a.model", data[:cut]))


def sentencepiece_parses(library: Any, data: bytes) -> bool:
    try:
        return bool(library.SentencePieceProcessor(model_proto=data).vocab_size())
    except Exception:
        return False


def test_a_changed_folder_is_refused(made: Made, tmp_path: Path) -> None:
    made["bpe"][1].save(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["model"]["merges"].pop()
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match="were changed"):
        ByteLevelBPE().load(str(tmp_path))


def test_a_special_token_that_is_not_there_is_refused(made: Made, tmp_path: Path) -> None:
    made["bpe"][1].save(tmp_path)
    (tmp_path / "tokenizer_family.json").unlink()
    write(tmp_path / "tokenizer_config.json", '{"eos_token": "<end>"}')
    with pytest.raises(CheckpointError, match="'<end>', which is not in"):
        HuggingFace().load(str(tmp_path))
    decoder = {"600": {"content": "<end>", "special": True}, "601": {"content": "<t>", "special": False}}
    size = made["bpe"][1].size
    decoder = {str(size + i): token for i, token in enumerate(decoder.values())}
    write(tmp_path / "tokenizer_config.json", json.dumps({"eos_token": "<end>", "added_tokens_decoder": decoder}))
    tokenizer = HuggingFace().load(str(tmp_path))
    assert tokenizer.special.eos == size
    assert tokenizer.encode("<t>") == [size + 1]


def test_an_older_folder_is_converted(made: Made, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    content = made["bpe"][1].content  # type: ignore[attr-defined]
    write(tmp_path / "vocab.json", json.dumps(content["model"]["vocab"]))
    write(tmp_path / "merges.txt", "#version: 0.2\n" + "\n".join(" ".join(m) for m in content["model"]["merges"]))
    config = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "</s>"}
    write(tmp_path / "tokenizer_config.json", json.dumps(config))
    tokenizer = HuggingFace().load(str(tmp_path))
    assert tokenizer.encode_batch(TEXTS) == made["bpe"][1].encode_batch(TEXTS)
    assert tokenizer.special == SpecialTokens(bos=1, eos=2, unk=2)


def test_the_hub_offline_is_one_line() -> None:
    code = (
        "from tilbench_tokenizers.huggingface import HuggingFace\n"
        "try: HuggingFace().load('hf:org/none-such@main')\n"
        "except Exception as e: print(type(e).__name__, str(e).count(chr(10)), 'give a local folder' in str(e))"
    )
    assert run(code, HF_HUB_OFFLINE="1") == "CheckpointError 0 True"


def test_a_report_on_bytes_is_arithmetic() -> None:
    found = report_on(Bytes().load("bytes"), ["ab c", "қ"])
    assert (found.documents, found.bytes, found.characters, found.words, found.uax29_words, found.tokens) == (
        2, 6, 5, 3, 3, 6,
    )  # fmt: skip
    assert (found.tokens_per_word, found.bytes_per_token, found.characters_per_token) == (2.0, 1.0, 5 / 6)
    assert (found.unknown_rate, found.byte_fallback_rate, found.words_kept_whole) == (0.0, 2 / 6, 0.0)
    assert (found.round_trip_failures, found.vocabulary_used) == (0, 6 / 259)
    assert found.tokens_per_word_interval == (2.0, 2.0)


def test_words_kept_whole_means_the_same_for_sentencepiece(made: Made) -> None:
    ours = report_on(made["huggingface"][1], ["zq the zq қ", "the"])
    bpe = made["bpe"][1]
    whole = sum(len(bpe.encode(" " + word)) == 1 for word in ["zq", "the", "zq", "қ", "the"])
    assert ours.words_kept_whole == whole / 5
    theirs = report_on(made["mistral"][1], ["Paris is the capital"])
    assert theirs.words_kept_whole == 1.0


def test_report_interval_and_parity(made: Made) -> None:
    tokenizer = made["bpe"][1]
    assert parity(tokenizer, TEXTS[:1] * 3, TEXTS[3:4] * 3) == len(tokenizer.encode(TEXTS[0])) / len(
        tokenizer.encode(TEXTS[3])
    )
    interval = report_on(tokenizer, TEXTS).tokens_per_word_interval
    assert interval is not None
    assert interval[0] < report_on(tokenizer, iter(TEXTS)).tokens_per_word < interval[1]
    assert report_on(tokenizer, TEXTS[:1]).tokens_per_word_interval is None
    with pytest.raises(DataError, match="both languages"):
        parity(tokenizer, TEXTS[:1], TEXTS)


@pytest.mark.parametrize(
    ("scheme", "fertility", "compression"),
    [("r50k_base", 9.136, 1.563), ("cl100k_base", 5.958, 2.396)],
)
def test_fertility_of_public_vocabularies(data_dir: Path, scheme: str, fertility: float, compression: float) -> None:
    # Public figures: tokka-bench on FineWeb-2. KazNERD sets punctuation apart as words, so its fertility is lower;
    # per Unicode word and per byte the two agree.
    with gzip.open(data_dir / "ner-kazakh" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        documents = [" ".join(json.loads(line)["tokens"]) for line in file]
    found = report_on(Tiktoken().load(str(data_dir / "tokenizers" / f"{scheme}.tiktoken")), documents)
    assert found.documents == 11_307
    assert found.tokens_per_uax29_word == pytest.approx(fertility, rel=0.05)
    assert found.bytes_per_token == pytest.approx(compression, rel=0.01)
    assert found.round_trip_failures == 0


def run(code: str, **environment: str) -> str:
    """Run code in a fresh interpreter that sees the same packages, and return what it prints."""
    roots = [Path(inspect.getfile(m)).parents[1] for m in (tilbench_tokenizers, sys.modules["tilbench"])]
    path = os.pathsep.join(map(str, roots))
    env = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()
