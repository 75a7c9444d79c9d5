"""The scoring engine: the same numbers as a plain loop, whatever is batched with what."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from tilbench.config.decoding import Decoding
from tilbench.errors import CheckpointError, DataError
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.requests import (
    Answer,
    Continuation,
    Document,
    Generated,
    Generation,
    Likelihood,
    NextWord,
    Request,
    RequestKind,
    Tokens,
    Unanswered,
    answer_from_json,
    answer_to_json,
    request_key,
)
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.loader import Host
from tilbench.scoring.decode.generate import Job
from tilbench.scoring.encode.prefix import Prefix
from tilbench.scoring.encode.windows import windows
from tilbench.scoring.engine import TorchLanguageModel
from tilbench.scoring.forward.likelihood import Scored, Segment, SegmentScorer
from tilbench.scoring.forward.states import Budget, row_states, tree_states
from tilbench.scoring.forward.trie import Trie, as_ids
from tilbench.scoring.journal import ENGINE_VERSION, Journal

TEXTS = ["Абай — ұлы ақын.", "Сұрақ: 2 + 2 неше?\nЖауап:", "a", "Қазақ тілі — түркі тілдерінің бірі. " * 4]
BOS = 257


@given(
    st.lists(st.integers(0, 9), max_size=60),
    st.integers(1, 12).flatmap(lambda window: st.tuples(st.just(window), st.integers(1, window))),
    st.sampled_from([None, 99]),
)
def test_windows_predict_every_token_once_within_the_window(
    ids: list[int], sizes: tuple[int, int], prefix: int | None
) -> None:
    window, overlap = sizes
    pairs = windows(ids, prefix, window, overlap)
    whole = ([prefix] if prefix is not None else []) + ids
    assert list(itertools.chain.from_iterable(targets for _, targets in pairs)) == whole[1:]
    place = 1
    for number, (context, targets) in enumerate(pairs):
        assert context == whole[place - len(context) : place]
        assert len(context) + len(targets) - 1 <= window
        assert number == 0 or len(context) >= overlap
        place += len(targets)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 12))
def test_overlap_of_one_is_the_scheme_of_lm_eval(ids: list[int], window: int) -> None:
    theirs = map(make_disjoint_window, get_rolling_token_windows(ids, 99, window, 1))
    assert windows(ids, 99, window) == [(list(context), list(targets)) for context, targets in theirs]


@given(st.integers(1, 60), st.integers(2, 12).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size - 1))))
def test_the_prefix_stands_before_every_window_where_it_is_asked_for(count: int, sizes: tuple[int, int]) -> None:
    window, overlap = sizes
    ids = list(range(count))
    pairs = windows(ids, 99, window, overlap, prefix_each=True)
    assert list(itertools.chain.from_iterable(targets for _, targets in pairs)) == ids
    for number, (context, targets) in enumerate(pairs):
        before = context[1:]
        assert context[0] == 99
        assert before == ids[targets[0] - len(before) : targets[0]]
        assert len(before) >= (overlap if number else 0)
        assert len(context) + len(targets) - 1 <= window
    if count > window:
        assert len(pairs[-1][0]) + len(pairs[-1][1]) - 1 == window, "the last window is not full"


def no_tokenizer(reference: str) -> Tokenizer:
    raise AssertionError(reference)


class Opened:
    """A tiny random decoder over bytes, as a language model and as its parts."""

    def __init__(self, host: Host, name: str, prefix: Prefix | None = None, **options: Any) -> None:
        architecture = host.registry.architectures.get(name)
        self.tokenizer = host.registry.tokenizers.get("bytes").load("bytes")
        torch.manual_seed(0)
        sizes = {"vocab_size": 300, "max_length": 64, "hidden_size": 32, "num_layers": 2, "num_heads": 2}
        latent = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
        config = architecture.Config(**sizes, intermediate_size=48, **(latent if name == "mla" else {}))
        decoder = architecture.build(config).eval()
        assert isinstance(decoder, Decoder)
        self.decoder = decoder
        card = ModelCard(name="toy", fingerprint="toy", supports=frozenset(RequestKind))
        self.options = OpenOptions(load_tokenizer=no_tokenizer, **options)
        prefix = prefix or Prefix(BOS, True, "bos")
        self.model = TorchLanguageModel(card, self.decoder, self.tokenizer, prefix, self.options)

    def answers(self, requests: Sequence[Request]) -> dict[Request, Answer]:
        return dict(itertools.chain.from_iterable(self.model.answer(requests)))


@pytest.fixture(scope="module", params=["gpt2", "llama", "alibi", "mla"])
def opened(request: pytest.FixtureRequest, host: Host) -> Opened:
    return Opened(host, request.param)


def plain(opened: Opened, context: list[int], targets: list[int]) -> float:
    """Score by the definition: one sequence, all logits, log-softmax, sum."""
    with torch.inference_mode():
        logits = opened.decoder(torch.tensor([(context + targets)[:-1]]))[0].double()
    places = range(len(context) - 1, len(context) + len(targets) - 1)
    return float(sum(logits[place].log_softmax(0)[target] for place, target in zip(places, targets, strict=True)))


def requests() -> list[Request]:
    letters = [Continuation(TEXTS[1], f" {letter}") for letter in "ABCD"]
    return [*letters, Continuation("", "бос"), Continuation("Жауап: ", "иә"), *(Document(text) for text in TEXTS)]


def test_continuations_equal_the_definition(opened: Opened) -> None:
    answers = opened.answers(requests())
    for request in requests():
        if isinstance(request, Continuation):
            context = [BOS, *request.context.rstrip().encode()]
            targets = list((request.context + request.continuation).encode()[len(context) - 1 :])
            context = context[-(65 - len(targets)) :]
            answer = answers[request]
            assert isinstance(answer, Likelihood)
            assert answer.logprob == pytest.approx(plain(opened, context, targets), abs=1e-4)
            assert answer.tokens == len(targets)


def test_a_continuation_longer_than_the_model_is_scored_in_windows(opened: Opened) -> None:
    request = Continuation("Жауап:", " " + "сөз" * 40)
    answer = opened.answers([request])[request]
    targets = list(request.continuation.encode())
    expected = sum(plain(opened, *pair) for pair in windows(targets, BOS, 64))
    assert isinstance(answer, Likelihood)
    assert len(targets) > 64
    assert answer.logprob == pytest.approx(expected, abs=1e-3)
    assert answer.tokens == len(targets)
    assert answer.cut == len("Жауап:".encode())


def test_documents_equal_the_sum_over_their_windows(opened: Opened) -> None:
    answers = opened.answers(requests())
    for text in TEXTS:
        answer = answers[Document(text)]
        expected = sum(plain(opened, *pair) for pair in windows(list(text.encode()), BOS, 64))
        assert isinstance(answer, Likelihood)
        assert answer.logprob == pytest.approx(expected, abs=1e-3)
        assert answer.tokens == len(text.encode())


@pytest.mark.parametrize("batch_tokens", [1, 64, 4096])
def test_batch_size_and_order_change_nothing(opened: Opened, batch_tokens: int) -> None:
    other = TorchLanguageModel(
        opened.model.card,
        opened.decoder,
        opened.tokenizer,
        Prefix(BOS, True, "bos"),
        replace(opened.options, batch_tokens=batch_tokens),
    )
    ours = dict(itertools.chain.from_iterable(other.answer(requests()[::-1])))
    for request, answer in opened.answers(requests()).items():
        again = ours[request]
        assert isinstance(answer, Likelihood)
        assert isinstance(again, Likelihood)
        assert again.logprob == pytest.approx(answer.logprob, abs=1e-5 * max(1, answer.tokens or 1))
        assert again.greedy == answer.greedy


def test_the_rest_of_a_killed_run_is_answered_to_the_last_bit(opened: Opened) -> None:
    """Batches of what remains are those that were still to come, so resumed numbers are identical."""
    small = TorchLanguageModel(
        opened.model.card,
        opened.decoder,
        opened.tokenizer,
        Prefix(BOS, True, "bos"),
        replace(opened.options, batch_tokens=2),
    )
    batches: list[Sequence[tuple[Request, Answer]]] = list(small.answer(requests()))
    assert len(batches) > 3
    done = {request for batch in batches[:2] for request, _ in batch}
    rest = list(small.answer([request for request in requests() if request not in done]))
    assert rest == batches[2:]


def test_each_distinct_token_is_computed_once(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    hidden = opened.decoder.hidden

    def counted(ids: torch.Tensor, **rest: Any) -> torch.Tensor:
        computed.append(ids.numel())
        result: torch.Tensor = hidden(ids, **rest)
        return result

    monkeypatch.setattr(opened.decoder, "hidden", counted)
    shared = "Сұрақ: "
    asked = [Continuation(f"{shared}{name}?", f" {answer}") for name in ("бір", "екі") for answer in ("иә", "жоқ")]
    opened.answers(asked)
    inputs = {(BOS, *f"{each.context}{each.continuation}".encode()[:-1]) for each in asked}
    assert sum(computed) == len({ids[:end] for ids in inputs for end in range(1, len(ids) + 1)})


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("tokens", [1, 8, 64, 4096])
@given(sequences=st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=14), min_size=1, max_size=12))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sharing_changes_nothing(opened: Opened, tokens: int, threads: int, sequences: list[list[int]]) -> None:
    segments = [Segment.of(as_ids(ids[:1]), as_ids(ids[1:]), ranked=True) for ids in sequences]
    trie = Trie.of([segment.ids for segment in segments])
    scorer = SegmentScorer(opened.decoder, torch.device("cpu"), Budget(tokens), "toy")
    torch.set_num_threads(threads)
    with torch.inference_mode():
        shared, alone = (scorer.score_by(way, segments, trie) for way in (tree_states, row_states))
    torch.set_num_threads(1)
    for one, other, ids in zip(shared, alone, sequences, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-5)
        assert one.logprob == pytest.approx(plain(opened, ids[:1], ids[1:]), abs=1e-5)
        assert (one.rank, one.tied, one.greedy) == (other.rank, other.tied, other.greedy)


@pytest.mark.parametrize("states_of", [tree_states, row_states])
def test_out_of_memory_halves_the_batch_and_goes_on(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, states_of: Any
) -> None:
    hidden = opened.decoder.hidden

    def limited(ids: torch.Tensor, **rest: Any) -> torch.Tensor:
        if ids.numel() > 24:
            raise torch.OutOfMemoryError
        result: torch.Tensor = hidden(ids, **rest)
        return result

    segments = [Segment.of(as_ids([BOS, 1, 2]), as_ids([3, 4, each] * 3)) for each in range(8)]
    trie = Trie.of([segment.ids for segment in segments])
    scorer = SegmentScorer(opened.decoder, torch.device("cpu"), Budget(256), "toy")
    with torch.inference_mode():
        wanted = [each.logprob for each in scorer.score_by(states_of, segments, trie)]
        monkeypatch.setattr(opened.decoder, "hidden", limited)
        with pytest.warns(UserWarning, match="out of memory: going on with"):
            found = [each.logprob for each in scorer.score_by(states_of, segments, trie)]
    assert found == pytest.approx(wanted, abs=1e-5)
    assert scorer.budget.tokens < 64


@pytest.mark.parametrize(
    ("windows_greedy", "greedy"), [((True, True), True), ((True, False), False), ((False, True), False)]
)
def test_a_text_is_greedy_if_all_of_its_windows_are(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, windows_greedy: tuple[bool, bool], greedy: bool
) -> None:
    scored = [Scored(-1.0, each, 1) for each in windows_greedy]
    monkeypatch.setattr(type(opened.model._scorer), "score", lambda _, segments: scored[: len(segments)])
    request = Document("ab" * 40)
    assert opened.answers([request])[request] == Likelihood(-2.0, 80, greedy, windows=2)


def test_a_rank_counts_the_tokens_that_are_likelier(opened: Opened) -> None:
    answer = opened.answers([NextWord("Астана", "қала")])[NextWord("Астана", "қала")]
    ids = [BOS, *"Астана".encode()]
    logits = opened.decoder(torch.tensor([ids]))[0, -1]
    assert getattr(answer, "rank") == int((logits > logits[ord(" ")]).sum()) + 1  # noqa: B009
    assert getattr(answer, "logprob") == pytest.approx(plain(opened, ids, list(" қала".encode())), abs=1e-4)  # noqa: B009


def test_greedy_text_is_what_full_forwards_choose(opened: Opened) -> None:
    request = Generation("Жел", Decoding(max_new_tokens=8))
    answer = opened.answers([request])[request]
    ids = [BOS, *"Жел".encode()]
    new: list[int] = []
    for _ in range(8):
        best = int(opened.decoder(torch.tensor([ids + new]))[0, -1].argmax())
        if best == opened.tokenizer.special.eos:
            break
        new.append(best)
    assert getattr(answer, "text") == opened.tokenizer.decode(new)  # noqa: B009


def test_rows_beyond_the_tokenizer_are_never_chosen(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding = Decoding(max_new_tokens=8)
    asked = [
        Generation("Жел", decoding),
        Generation("Күн", replace(decoding, repetition_penalty=1.2, no_repeat_ngram=2)),
        Generation("Жел", replace(decoding, temperature=1.0)),
        Generation("Жел", replace(decoding, temperature=1.0, top_k=3)),
        Generation("Жел", replace(decoding, temperature=1.0, top_p=0.5)),
    ]
    before = opened.answers(asked)
    size, decoder = opened.tokenizer.size, opened.model._decoder
    project = decoder.project

    def likeliest(hidden: torch.Tensor) -> torch.Tensor:
        logits = project(hidden).clone()
        logits[..., size:] += 1000
        return logits

    assert size < decoder.vocab_size
    monkeypatch.setattr(decoder, "project", likeliest)
    assert opened.answers(asked) == before
    for request, job in opened.model.reader.jobs(asked):
        assert isinstance(job, Job)
        answer = opened.model.stream(job, lambda text: None)
        assert answer.text == getattr(before[request], "text")  # noqa: B009


def test_sampling_depends_on_the_seed_and_not_on_what_else_is_asked(opened: Opened) -> None:
    decoding = Decoding(
        max_new_tokens=12, temperature=1.0, top_k=50, top_p=0.95, repetition_penalty=1.1, no_repeat_ngram=3
    )
    first, second = Generation("Жел", decoding, seed=1), Generation("Жел", decoding, seed=2)
    both = opened.answers([first, second])
    assert both[first] == opened.answers([first])[first]
    assert both[first] != both[second]


def test_a_text_with_nothing_to_predict_is_not_answered_and_the_others_are(opened: Opened) -> None:
    answers = opened.answers([Continuation("сөз", ""), Continuation("сөз", " иә")])
    assert answers[Continuation("сөз", "")] == Unanswered("the continuation has no token of its own")
    assert (
        answers[Continuation("сөз", " иә")] == opened.answers([Continuation("сөз", " иә")])[Continuation("сөз", " иә")]
    )


def assert_likelihood(answer: Answer, logprob: float, tokens: int) -> None:
    assert isinstance(answer, Likelihood)
    assert answer.logprob == pytest.approx(logprob, abs=1e-3)
    assert (answer.tokens, answer.greedy) == (tokens, False)


def test_a_first_token_that_nothing_stands_before_costs_the_bits_of_a_choice_out_of_the_vocabulary(host: Host) -> None:
    opened = Opened(host, "llama", prefix=Prefix(None, False, "none"))
    size = math.log(opened.tokenizer.size)
    assert opened.tokenizer.size < opened.decoder.vocab_size
    text = TEXTS[0] * 3  # two windows and more
    document, continuation, one = Document(text), Continuation("", "бос"), Document("a")
    found = opened.answers([document, continuation, one])
    ids = list(text.encode())
    expected = sum(plain(opened, *pair) for pair in windows(ids, None, 64)) - size
    assert_likelihood(found[document], expected, len(ids))
    ids = list("бос".encode())
    expected = plain(opened, ids[:1], ids[1:]) - size
    assert_likelihood(found[continuation], expected, len(ids))
    assert_likelihood(found[one], -size, 1)


def test_an_answer_that_needs_a_token_before_it_is_left_out_where_there_is_none(host: Host) -> None:
    opened = Opened(host, "llama", prefix=Prefix(None, False, "none"))
    ranked, generated, other = NextWord("", "сөз"), Generation(""), Generation("сөз", Decoding(max_new_tokens=2))
    found = opened.answers([ranked, generated, other])
    assert "the context is empty" in found[ranked].reason  # type: ignore[union-attr]
    assert "the prompt is empty" in found[generated].reason  # type: ignore[union-attr]
    assert isinstance(found[other], Generated)


def test_every_window_begins_with_the_prefix_where_the_request_says_so(opened: Opened) -> None:
    text = TEXTS[0] * 4
    once, each = Document(text, 40, 8), Document(text, 40, 8, True)
    found = opened.answers([once, each])
    pairs = windows(list(text.encode()), BOS, 40, 8, prefix_each=True)
    assert len(pairs) > 3
    expected = sum(plain(opened, *pair) for pair in pairs)
    assert found[each].logprob == pytest.approx(expected, abs=1e-3)  # type: ignore[union-attr]
    assert found[once].logprob != pytest.approx(expected, abs=1e-3)  # type: ignore[union-attr]


def test_an_overlap_that_does_not_fit_the_model_is_left_out(opened: Opened) -> None:
    request = Document("сөз", None, 64, True)
    assert "does not fit into 64 tokens" in opened.answers([request])[request].reason  # type: ignore[union-attr]


def test_what_a_context_lost_stands_in_its_answer(opened: Opened) -> None:
    context = "Do this.\n\n" + "old 1\n\n" + "new 2\n\n" + "the question " * 4
    request = Continuation(context, " yes", ((10, 17), (17, 24)), 10, (" yes", " no"))
    answer = opened.answers([request])[request]
    shown = b"Do this.\n\n" + (b"the question " * 4).rstrip()
    # 64 tokens are read: the prefix, the shown context, and the answer but for its last byte.
    assert 1 + len(shown) + len(b"  yes") - 1 > 64, "the example does not show a cut"
    room = 64 + 1 - len(b"  yes")
    before = [BOS, *shown[:10], *shown[len(shown) - (room - 1 - 10) :]]
    assert isinstance(answer, Likelihood)
    assert answer.dropped == 2
    assert answer.cut == 1 + len(shown) - len(before)
    assert answer.logprob == pytest.approx(plain(opened, before, list(b"  yes")), abs=1e-4)


def test_the_models_own_ends_end_a_text(opened: Opened) -> None:
    request = Generation("Абай", Decoding(max_new_tokens=12))
    whole = opened.answers([request])[request]
    assert isinstance(whole, Generated)
    ids = opened.model.reader.tokenizer.encode("Абай")
    with torch.inference_mode():
        last = int(opened.decoder(torch.tensor([[BOS, *ids]]))[0, -1].argmax())
    ended = TorchLanguageModel(
        opened.model.card, opened.decoder, opened.tokenizer, opened.model.prefix, opened.options, frozenset({last})
    )
    (answer,) = (answer for group in ended.answer([request]) for _, answer in group)
    assert answer == Generated("", 0, True)
    assert whole.tokens > 0


def test_only_texts_with_ids_beyond_the_embedding_are_not_answered(opened: Opened) -> None:
    class Larger:
        """The tokenizer with one more character, which has an id of its own beyond the embedding."""

        size = 301

        def __getattr__(self, name: str) -> Any:
            return getattr(opened.tokenizer, name)

        def encode(self, text: str) -> list[int]:
            parts = text.split("№")
            ids: list[int] = opened.tokenizer.encode(parts[0])
            for part in parts[1:]:
                ids += [300, *opened.tokenizer.encode(part)]
            return ids

        def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
            return [self.encode(text) for text in texts]

    asked: list[Request] = [*requests(), Generation("Жел", Decoding(max_new_tokens=3)), NextWord("Астана", "қала")]
    beyond: list[Request] = [Document("№ 1"), Continuation("№ 1", " a"), Continuation("a", " № 1"), Generation("№")]
    model = TorchLanguageModel(opened.model.card, opened.decoder, Larger(), opened.model.prefix, opened.options)
    answers = dict(itertools.chain.from_iterable(model.answer([*asked, *beyond])))
    assert {request: answers[request] for request in asked} == opened.answers(asked)
    for request in beyond:
        assert answers[request] == Unanswered("its text has the token id 300, and the embedding 300 rows")


def test_a_prefix_beyond_the_embedding_is_refused(opened: Opened) -> None:
    with pytest.raises(CheckpointError, match="choose another token with --prefix"):
        TorchLanguageModel(opened.model.card, opened.decoder, opened.tokenizer, Prefix(300, True, "x"), opened.options)


any_request = st.one_of(
    st.builds(Continuation, st.text(), st.text()),
    st.builds(Document, st.text(), st.none() | st.integers(1, 9), st.integers(1, 9)),
    st.builds(Tokens, st.text()),
    st.builds(NextWord, st.text(), st.text()),
)


@given(any_request, any_request)
def test_requests_share_a_key_only_if_they_are_equal(one: Request, two: Request) -> None:
    assert (request_key(one) == request_key(two)) == (one == two)


@given(st.floats(allow_nan=False), st.none() | st.integers(0, 9), st.none() | st.booleans())
def test_answers_survive_json_exactly(logprob: float, tokens: int | None, greedy: bool | None) -> None:
    answer = Likelihood(logprob, tokens, greedy)
    assert answer_from_json(answer_to_json(answer)) == answer


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened


def test_one_models_answers_are_never_anothers(journal: Journal) -> None:
    request = Document("text")
    journal.add("a", [(request, Likelihood(-1.0, 1))])
    assert journal.known("a", [request]) == {request: Likelihood(-1.0, 1)}
    assert journal.known("b", [request]) == {}


def test_answers_of_another_engine_version_are_not_known(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Document("сөз")
    journal.add("one", [(request, Likelihood(-1.0, 3))])
    with monkeypatch.context() as patch:
        patch.setattr("tilbench.scoring.journal.ENGINE_VERSION", ENGINE_VERSION + 1)
        assert journal.known("one", [request]) == {}
        journal.add("one", [(request, Likelihood(-2.0, 3))])
        assert journal.known("one", [request]) == {request: Likelihood(-2.0, 3)}
    assert journal.known("one", [request]) == {request: Likelihood(-1.0, 3)}


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_text("not a database" * 100)
    with pytest.raises(DataError, match="cannot be used as a journal"):
        Journal(tmp_path / "journal.sqlite")
