"""What training makes of a text: pieces as long as its words, whatever their script."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest

from tilbench.run.tokenizer_report import report_on
from tilbench_tokenizers.trained import Unigram


@pytest.mark.parametrize(
    "word", ["internationalization", "ынтымақтастығымыздың", "გამარჯვებულებისთვის", "国际化国际化国际化"]
)
def test_a_unigram_vocabulary_with_room_has_whole_words_of_any_script(word: str) -> None:
    tokenizer = Unigram().train([f"{word} {word}, {word}."] * 20, {"vocab_size": 1000})
    assert len(tokenizer.encode(f" {word}")) == 1


def test_long_runs_do_not_slow_unigram_training() -> None:
    rules = ["-" * 5000, "a" * 20_000, "қ" * 3000, "\n" * 2000]
    started = time.perf_counter()
    tokenizer = Unigram().train(rules * 3, {"vocab_size": 600})
    assert time.perf_counter() - started < 10
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(rules)] == rules


@pytest.mark.slow
def test_unigram_fertility_of_real_kazakh(data_dir: Path) -> None:
    def texts(split: str) -> list[str]:
        with gzip.open(data_dir / "text" / "kk" / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line)["text"] for line in lines]

    tokenizer = Unigram().train(texts("train")[:600], {"vocab_size": 8000})
    # with pieces of 16 bytes, 8 letters of Cyrillic, it was 2.145
    assert report_on(tokenizer, texts("heldout")).tokens_per_word == pytest.approx(2.0885, abs=5e-4)
