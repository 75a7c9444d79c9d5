import gzip
import itertools
import json
import lzma
import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tilbench.errors import TilbenchError, Unsupported
from tilbench.kinds.language_model import LanguageModel, Loader, OpenOptions
from tilbench.kinds.requests import Answer, Continuation, Document, Likelihood, Request, Tokens
from tilbench_baselines.counts import SCALARS, count, probabilities
from tilbench_baselines.ngram import NgramLoader
from tilbench_baselines.switching import SWITCH, advance
from tilbench_baselines.uniform import UniformBytesLoader
from tilbench_baselines.xz import XzLoader

TRAIN = ("бала балаға барды", "абаба", "б")
TEXTS = st.text(alphabet="аб🙂 ", max_size=12)


def no_tokenizer(reference: str) -> Any:
    raise AssertionError(reference)


def options(*reference_text: str) -> OpenOptions:
    return OpenOptions(reference_text=reference_text, load_tokenizer=no_tokenizer)


def ask(model: LanguageModel, *requests: Request) -> list[Answer]:
    pairs = [pair for batch in model.answer(requests) for pair in batch]
    assert [request for request, _ in pairs] == list(requests)
    return [answer for _, answer in pairs]


LOADERS: list[tuple[str, Loader]] = [
    ("uniform-bytes", UniformBytesLoader()),
    ("xz", XzLoader()),
    ("ngram", NgramLoader()),
]


@pytest.mark.parametrize(("name", "loader"), LOADERS)
def test_loaders_keep_their_protocol(name: str, loader: Loader) -> None:
    assert isinstance(loader, Loader)
    assert loader.recognises(name)
    assert not loader.recognises(f"{name}-2")
    model = loader.open(name, options(*TRAIN))
    assert isinstance(model, LanguageModel)
    assert model.card == loader.card(name, options(*TRAIN))
    assert model.card.name == name
    with pytest.raises(Unsupported, match=f"{name} answers no tokens requests"):
        ask(model, Tokens("сөз"))


@pytest.mark.parametrize(("name", "loader"), LOADERS)
def test_answers_do_not_depend_on_what_is_asked_together(name: str, loader: Loader) -> None:
    model = loader.open(name, options(*TRAIN))
    requests = [Document("ба" * size) for size in range(1, 600)]
    assert ask(model, *requests) == [answer for request in requests for answer in ask(model, request)]


def test_uniform_bytes_cost_eight_bits_each() -> None:
    model = UniformBytesLoader().open("uniform-bytes", options())
    document, continuation = ask(model, Document("ұл"), Continuation("жақсы", " ұл"))
    assert document == Likelihood(-32 * math.log(2), tokens=4)
    assert continuation == Likelihood(-40 * math.log(2), tokens=5)


@pytest.mark.parametrize("text", ["", "сөз", "Қазақстан Республикасы. " * 200, "".join(map(chr, range(200, 3000)))])
def test_xz_is_the_size_of_a_raw_stream_at_full_strength(text: str) -> None:
    (answer,) = ask(XzLoader().open("xz", options()), Document(text))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    size = len(lzma.compress(text.encode(), format=lzma.FORMAT_RAW, filters=filters))
    assert answer == Likelihood(-8 * size * math.log(2), tokens=None)
    with pytest.raises(Unsupported, match="xz answers no continuation"):
        ask(XzLoader().open("xz", options()), Continuation("", "сөз"))


def witten_bell(documents: Sequence[str], order: int, history: str, character: str) -> float:
    """Return a probability by the definition, with dictionaries and no cleverness; `^` starts a document."""
    followers: dict[str, Counter[str]] = defaultdict(Counter)
    for document in documents:
        padded = f"^{document}"
        for index in range(1, len(padded)):
            for length in range(min(order - 1, index) + 1):
                followers[padded[index - length : index]][padded[index]] += 1
    p = 1 / SCALARS
    history = f"^{history}"
    for length in range(min(order - 1, len(history)) + 1):
        seen = followers[history[len(history) - length :]]
        if total := seen.total():
            p = (seen[character] + len(seen) * p) / (total + len(seen))
    return p


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(1, 6), TEXTS, st.text("абв ", max_size=8))
def test_ngram_follows_its_definition(documents: list[str], order: int, history: str, text: str) -> None:
    if not any(documents):
        return
    expected = [
        witten_bell(documents, order, history + text[:index], character) for index, character in enumerate(text)
    ]
    np.testing.assert_allclose(probabilities(count(documents, order), history, text), expected, rtol=1e-12)


OF_LENGTH = {1: ("\x01", 0x80), 2: ("é", 0x780), 3: ("字", 0xF000), 4: ("\U0010ffff", 0x100000)}
"""Bytes in UTF-8 → a character of so many that no reference text here has, and how many there are."""


@given(TEXTS)
def test_ngram_is_a_distribution(history: str) -> None:
    model = NgramLoader().open("ngram", options(*TRAIN))
    alphabet = sorted(set("".join(TRAIN)))
    unseen = {size: number - sum(len(c.encode()) == size for c in alphabet) for size, (_, number) in OF_LENGTH.items()}
    assert sum(unseen.values()) + len(alphabet) == SCALARS

    def chance(character: str) -> float:
        (answer,) = ask(model, Continuation(history, character))
        assert isinstance(answer, Likelihood)
        return math.exp(answer.logprob)

    others = [number * chance(OF_LENGTH[size][0]) for size, number in unseen.items()]
    assert math.fsum([*map(chance, alphabet), *others]) == pytest.approx(1, rel=1e-12)


@given(st.text() | TEXTS, st.text() | TEXTS)
@example("барды " * 500, "Ελλάδα, 日本, العربية 🙂")
@example("", "The quick brown fox jumps over the lazy dog. " * 50)
def test_ngram_never_costs_more_than_a_change_to_uniform_bytes(history: str, text: str) -> None:
    (answer,) = ask(NgramLoader().open("ngram", options(*TRAIN)), Continuation(history, text))
    assert isinstance(answer, Likelihood)
    assert -answer.logprob / math.log(2) <= 8 * len(text.encode()) + 10 + 1e-9


@given(st.lists(st.tuples(st.floats(1e-12, 1), st.floats(1e-12, 1)), max_size=9))
def test_changes_between_models_are_summed_over_all_ways(steps: list[tuple[float, float]]) -> None:
    ways = 0.0
    for path in itertools.product((0, 1), repeat=len(steps)):
        changes = sum(one != other for one, other in itertools.pairwise((0, *path)))
        stays = len(steps) - changes
        ways += (
            SWITCH**changes * (1 - SWITCH) ** stays * math.prod(step[i] for i, step in zip(path, steps, strict=True))
        )
    first, second = (np.array([step[i] for step in steps]) for i in (0, 1))
    state, logprob = advance(np.array([1.0, 0.0]), first, second)
    assert logprob == pytest.approx(math.log(ways), rel=1e-9, abs=1e-12)
    assert state.sum() == pytest.approx(1)


@given(TEXTS, TEXTS)
def test_ngram_continuations_add_up_to_documents(first: str, second: str) -> None:
    model = NgramLoader().open("ngram", options(*TRAIN))
    whole, head, tail = ask(model, Document(first + second), Document(first), Continuation(first, second))
    assert isinstance(whole, Likelihood)
    assert isinstance(head, Likelihood)
    assert isinstance(tail, Likelihood)
    assert whole.logprob == pytest.approx(head.logprob + tail.logprob, rel=1e-12)
    assert (whole.tokens, tail.tokens) == (len(first + second), len(second))


def test_ngram_is_identified_by_its_text_and_its_documents() -> None:
    cards = [NgramLoader().card("ngram", options(*texts)) for texts in [("аб",), ("а", "б"), ("ба",)]]
    assert len({card.fingerprint for card in cards}) == 3
    assert NgramLoader().card("ngram", options("аб")) == cards[0]
    assert cards[0].parameters == 5  # а, б, аб, ^а, ^аб


@pytest.mark.parametrize("texts", [(), ("", "")])
def test_ngram_without_text_says_what_to_do(texts: tuple[str, ...]) -> None:
    with pytest.raises(TilbenchError, match="'reference_text' in the suite"):
        NgramLoader().open("ngram", options(*texts))


DATA = Path(os.environ.get("TILBENCH_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "text" / "kk").is_dir(), reason="needs TILBENCH_DATA with text/kk")
def test_baselines_rank_as_they_must_on_real_kazakh() -> None:
    def texts(split: str) -> list[str]:
        with gzip.open(DATA / "text" / "kk" / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line)["text"] for line in lines]

    heldout = texts("heldout")
    size = sum(len(text.encode()) for text in heldout)
    bpb = {}
    for name, loader in LOADERS:
        answers = ask(loader.open(name, options(*texts("train"))), *map(Document, heldout))
        bits = -math.fsum(answer.logprob for answer in answers if isinstance(answer, Likelihood)) / math.log(2)
        bpb[name] = bits / size
    assert bpb["uniform-bytes"] == pytest.approx(8, rel=1e-12)
    assert bpb["ngram"] == pytest.approx(1.1365, abs=1e-4)
    assert bpb["xz"] == pytest.approx(3.643, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ru", "tr", "code"])
def test_ngram_of_kazakh_stays_below_uniform_bytes_on_other_languages(data_dir: Path, language: str) -> None:
    def texts(folder: str, split: str) -> list[str]:
        with gzip.open(data_dir / "text" / folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line)["text"] for line in lines]

    model = NgramLoader().open("ngram", options(*texts("kk", "train")))
    for text in texts(language, "heldout")[:100]:
        (answer,) = ask(model, Document(text))
        assert isinstance(answer, Likelihood)
        assert -answer.logprob / math.log(2) < 8 * len(text.encode())
