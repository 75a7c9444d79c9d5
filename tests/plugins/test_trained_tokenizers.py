"""What training makes of a text: pieces as long as its words, whatever their script."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilbench.errors import ConfigError
from tilbench.evaluation.tokenizer_report import report_on
from tilbench_tokenizers.trained import ByteLevelBPE, Til, TrainedFamily, Unigram, WordPiece


@pytest.mark.parametrize(
    "word", ["internationalization", "ынтымақтастығымыздың", "გამარჯვებულებისთვის", "国际化国际化国际化"]
)
def test_a_unigram_vocabulary_with_room_has_whole_words_of_any_script(word: str) -> None:
    tokenizer = Unigram().train([f"a {word}."] * 20, {"vocab_size": 1000})
    assert len(tokenizer.encode(f" {word}")) == 1
    assert not any("\ue000" in tokenizer.decode([i]) for i in range(tokenizer.size))


def test_long_runs_do_not_slow_unigram_training(growth: Callable[[Callable[[int], object], int], float]) -> None:
    def runs(size: int) -> list[str]:
        return ["-" * size, "a" * 4 * size, "қ" * size, "\n" * size]

    assert growth(lambda size: Unigram().train(runs(size) * 3, {"vocab_size": 600}), 5000) < 30
    rules = runs(5000)
    tokenizer = Unigram().train(rules * 3, {"vocab_size": 600})
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(rules)] == rules


APOSTROPHES = "Bugün Ankara'da İzmir'den Van'dan Bursa’ya, Oʻzbekistonda oʻquvchi sanʼati. "


@pytest.mark.parametrize("family", [ByteLevelBPE, Unigram, Til])
def test_a_pattern_keeps_apostrophes_inside_words(family: type[TrainedFamily]) -> None:
    texts = [APOSTROPHES] * 30
    usual = family().train(texts, {"vocab_size": 700})
    words = family().train(texts, {"vocab_size": 700, "pattern": "words"})
    for word in ("Ankara'da", "İzmir'den", "Bursa’ya", "Oʻzbekistonda", "oʻquvchi", "sanʼati"):
        assert len(words.encode(f" {word}")) == 1, word
    assert len(usual.encode(" Ankara'da")) == 3
    assert words.fingerprint != usual.fingerprint


@pytest.mark.parametrize("pattern", ["words", r"\p{L}+", "x*"])
@pytest.mark.parametrize("family", [ByteLevelBPE, Unigram, Til])
def test_whatever_the_pattern_texts_come_back(family: type[TrainedFamily], pattern: str, tmp_path: Path) -> None:
    text = APOSTROPHES + "x  xx\n\t3,14 😀 ' '' a' 'b ﷺ"
    tokenizer = family().train([text] * 3, {"vocab_size": 600, "pattern": pattern})
    assert tokenizer.decode(tokenizer.encode(text)) == text
    tokenizer.save(tmp_path)
    loaded = family().load(str(tmp_path))
    assert (loaded.encode(text), loaded.fingerprint) == (tokenizer.encode(text), tokenizer.fingerprint)


def test_the_named_gpt2_pattern_is_the_default() -> None:
    trained = [
        ByteLevelBPE().train([APOSTROPHES] * 9, {"vocab_size": 400, **more}) for more in ({}, {"pattern": "gpt2"})
    ]
    assert trained[0].fingerprint == trained[1].fingerprint


def test_a_pattern_that_is_none_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"'\(\[' is no regular expression .* nor one of gpt2, words") as raised:
        ByteLevelBPE().train(["a"], {"pattern": "(["})
    assert "\n" not in str(raised.value)
    with pytest.raises(ConfigError, match=r"'<pad>' could be .* split letters from signs in pattern '\\\\S\+'"):
        ByteLevelBPE().train(["a"], {"pattern": r"\S+"})
    with pytest.raises(ConfigError, match="pattern"):
        WordPiece().train(["a"], {"pattern": "words"})


@pytest.mark.parametrize(
    ("family", "options", "says"),
    [
        (ByteLevelBPE, {}, "GPT-2's pattern"),
        (ByteLevelBPE, {"pattern": "words"}, "pattern words"),
        (Unigram, {"pattern": r"\p{L}+"}, r"pattern '\\p{L}+'"),
        (Til, {}, r"pattern '\x1f', Digits, GPT-2's pattern"),
        (WordPiece, {}, "BertPreTokenizer"),
    ],
)
def test_a_report_names_what_splits_texts(family: type[TrainedFamily], options: dict[str, str], says: str) -> None:
    tokenizer = family().train([APOSTROPHES] * 9, {"vocab_size": 500, **options})
    assert report_on(tokenizer, [APOSTROPHES]).pre_tokenizer == says


def test_a_report_names_the_splitting_of_every_kind_of_reference(tilbench: Callable[..., Any], tmp_path: Path) -> None:
    ByteLevelBPE().train([APOSTROPHES] * 9, {"vocab_size": 400, "pattern": "words"}).save(tmp_path)
    told = tilbench("tokenizer", "report", tmp_path, "bytes", "mistral:v3", "--dataset", "text/tr/heldout").out
    assert f"{tmp_path} splits texts by: pattern words" in told.replace("\n", "")
    assert "bytes splits texts by: none" in told
    assert "mistral:v3 splits texts by: SentencePiece's own rules" in told


@pytest.mark.slow
def test_unigram_fertility_of_real_kazakh(data_dir: Path) -> None:
    def texts(split: str) -> list[str]:
        with gzip.open(data_dir / "text" / "kk" / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line)["text"] for line in lines]

    tokenizer = Unigram().train(texts("train")[:600], {"vocab_size": 8000})
    # 2.145 with pieces of at most 16 bytes, 8 letters of Cyrillic; 2.089 where whole words were no candidates
    assert report_on(tokenizer, texts("heldout")).tokens_per_word == pytest.approx(1.997, abs=2e-3)
