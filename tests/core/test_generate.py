"""Generation in batches: what a prompt yields is its own, and what Transformers yields."""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tilbench.config.decoding import Decoding
from tilbench.errors import DataError, Unsupported
from tilbench.kinds.requests import Generated, Generation
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.loader import Host
from tilbench.scoring.decode.generate import Job, fit, generate
from tilbench.scoring.decode.sampling import next_tokens, uniforms
from tilbench.testing.modules import lively
from tilbench.testing.toy_decoder import ToyCache, ToyConfig, ToyDecoder

CPU = torch.device("cpu")
SIZES = {"vocab_size": 61, "max_length": 64, "hidden_size": 32, "num_layers": 2, "num_heads": 4}
GROUPED = {**SIZES, "intermediate_size": 48, "num_kv_heads": 2}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 12, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {**SIZES, "intermediate_size": 48},
    "llama": GROUPED,
    "alibi": GROUPED,
    "mla": {**SIZES, "intermediate_size": 48, **LATENT},
    "huggingface": {"model_type": "llama", "vocab_size": 61, "max_length": 64, "config": SMALL},
}
THEIRS: dict[str, dict[str, Any]] = {
    "llama": SMALL,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "mistral": {**SMALL, "sliding_window": 8},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
}
SETTINGS = (
    Decoding(max_new_tokens=12),
    Decoding(max_new_tokens=9, temperature=0.8, top_k=20, top_p=0.9, repetition_penalty=1.2),
    Decoding(max_new_tokens=12, temperature=1.0, no_repeat_ngram=2),
    Decoding(max_new_tokens=5, temperature=1.3, top_p=0.7),
    Decoding(max_new_tokens=12, repetition_penalty=1.5, no_repeat_ngram=3),
)


class Letters:
    """A tokenizer of single characters; the id 0 ends a text."""

    family = "letters"
    size = 61
    special = SpecialTokens(eos=0)
    fingerprint = "letters"

    def __init__(self) -> None:
        self.decoded = 0

    def decode(self, ids: Sequence[int]) -> str:
        self.decoded += len(ids)
        return "".join(chr(64 + each) for each in ids)


def decoder(host: Host, name: str) -> Any:
    architecture: Any = host.registry.architectures.get(name)
    torch.manual_seed(0)
    return lively(architecture.build(architecture.Config(**CONFIGS[name])))


@pytest.fixture(scope="module", params=CONFIGS)
def built(request: pytest.FixtureRequest, host: Host) -> Any:
    return decoder(host, request.param)


def jobs(count: int = 20, **more: Any) -> list[Job]:
    """Prompts of 1 to 30 tokens, some of them equal, under several settings."""
    draw = random.Random(7)
    made: list[Job] = []
    for index in range(count):
        ids = [draw.randrange(1, 61) for _ in range(draw.choice([1, 4, 4, 11, 30]))]
        if index % 5 == 4:
            ids = list(made[-1].prompt)
        request = Generation(str(ids), SETTINGS[index % len(SETTINGS)], seed=index, **more)
        made.append(Job(request, ids))
    return made


def answers(module: Any, asked: Sequence[Job], batch_tokens: int = 4096, tokenizer: Any = None) -> dict[Any, Generated]:
    with torch.inference_mode():
        using: Any = tokenizer or Letters()
        groups = generate(module, using, asked, CPU, batch_tokens)
        return dict(itertools.chain.from_iterable(groups))


def test_alone_together_and_shuffled_are_the_same(built: Any) -> None:
    together = answers(built, jobs())
    assert len(together) == 20
    for job in jobs():
        assert answers(built, [job]) == {job.request: together[job.request]}
    for seed, batch_tokens in ((1, 4096), (2, 200), (3, 1)):
        shuffled = random.Random(seed).sample(jobs(), 20)
        assert answers(built, shuffled, batch_tokens) == together


def test_the_jobs_alone_decide_the_groups(built: Any) -> None:
    """What a killed run had still to do is what the same groups hold."""
    with torch.inference_mode():
        groups = [dict(group) for group in generate(built, Letters(), jobs(), CPU, 96)]  # type: ignore[arg-type]
        rest = [job for job in reversed(jobs()) if not any(job.request in group for group in groups[:2])]
        again = [dict(group) for group in generate(built, Letters(), rest, CPU, 96)]  # type: ignore[arg-type]
    assert len(groups) > 3
    assert again == groups[2:]


def test_greedy_text_is_what_whole_forwards_choose(built: Any) -> None:
    asked = [Job(Generation(str(job.prompt), Decoding(max_new_tokens=16)), job.prompt) for job in jobs()]
    found = answers(built, asked)
    for job in asked:
        ids = list(job.prompt)
        while len(ids) < len(job.prompt) + 16 and (len(ids) == len(job.prompt) or ids[-1]):
            ids.append(int(built(torch.tensor([ids]))[0, -1].argmax()))
        assert found[job.request].text == Letters().decode([each for each in ids[len(job.prompt) :] if each])


@pytest.mark.parametrize("name", THEIRS)
def test_greedy_equals_generate_of_transformers(name: str) -> None:
    from tilbench_huggingface.architecture import HuggingFaceArchitecture, HuggingFaceConfig

    torch.manual_seed(0)
    config = HuggingFaceConfig(model_type=name, vocab_size=61, max_length=64, config=THEIRS[name])
    module: Any = lively(HuggingFaceArchitecture().build(config))
    asked = [Job(Generation(str(job.prompt), Decoding(max_new_tokens=16)), job.prompt) for job in jobs(12)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = answers(module, asked)
    for job in asked:
        prompt = torch.tensor([job.prompt])
        theirs = module.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=0,
            pad_token_id=0,
        )
        new = [each for each in theirs[0, prompt.shape[1] :].tolist() if each]
        assert found[job.request].text == Letters().decode(new)
    said = [str(each.message) for each in caught if "prompts of one length at a time" in str(each.message)]
    assert len(said) == (1 if name == "mamba" else 0)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("ngram", [0, 1, 2, 3])
def test_penalties_are_those_of_transformers(penalty: float, ngram: int) -> None:
    from transformers import NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

    torch.manual_seed(0)
    logits, seen = torch.randn(5, 7), torch.randint(7, (5, 9))
    wanted = logits
    if penalty != 1.0:
        wanted = RepetitionPenaltyLogitsProcessor(penalty)(seen, wanted.clone())
    if ngram:
        wanted = NoRepeatNGramLogitsProcessor(ngram)(seen, wanted.clone())
    padded = torch.cat([torch.full((5, 2), -1), seen], 1)
    found = next_tokens(logits, padded, Decoding(repetition_penalty=penalty, no_repeat_ngram=ngram), torch.zeros(5))
    assert found.tolist() == wanted.argmax(-1).tolist()


def test_a_penalty_makes_seen_ids_less_likely_whatever_their_sign() -> None:
    """By definition: 2 / 1.5 < 1.5 among positive logits, and -1 · 1.5 < -1.2 among negative ones."""
    logits = torch.tensor([[2.0, 1.5], [-1.0, -1.2]])
    seen = torch.tensor([[0], [0]])
    for penalty, expected in ((1.0, [0, 0]), (1.5, [1, 1])):
        assert next_tokens(logits, seen, Decoding(repetition_penalty=penalty), torch.zeros(2)).tolist() == expected


@pytest.mark.parametrize(("ngram", "seen", "expected"), [(1, [2], 1), (2, [2, 2], 1), (2, [2], 2), (3, [2, 2], 2)])
def test_the_shortest_text_that_holds_an_ngram_forbids_it(ngram: int, seen: list[int], expected: int) -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    assert next_tokens(logits, torch.tensor([seen]), Decoding(no_repeat_ngram=ngram), torch.zeros(1)).item() == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 0.65}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 0.75}, [0, 4 / 9, 2 / 9, 3 / 9]),
        ({"top_k": 3, "top_p": 0.5}, [0, 4 / 7, 0, 3 / 7]),
        ({"temperature": 0.5}, [1 / 30, 16 / 30, 4 / 30, 9 / 30]),  # probabilities to the power of 1 / temperature
    ],
)
def test_draws_are_shares_of_the_unit_interval(settings: dict[str, Any], expected: list[float]) -> None:
    count = 9000
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log().expand(count, 4)
    uniform = (torch.arange(count) + 0.5) / count
    drawn = next_tokens(logits, torch.zeros(count, 0), Decoding(**{"temperature": 1.0, **settings}), uniform)
    assert (drawn.bincount(minlength=4) / count).tolist() == pytest.approx(expected, abs=2e-4)
    assert drawn.tolist() == sorted(drawn.tolist())


def test_what_cannot_be_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 0.0]])
    assert next_tokens(logits, torch.zeros(1, 0), Decoding(temperature=1.0), torch.zeros(1)).item() == 1


@given(st.integers(0, 2**31), st.floats(0, 1, exclude_max=True, width=32))
def test_rounding_does_not_change_what_is_drawn(seed: int, uniform: float) -> None:
    """Of nearly equal tokens none trades places with another, whatever the last digit of their logits."""
    state = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 200, generator=state) * 1e-6
    moved = logits + torch.randn(1, 200, generator=state) * 1e-7
    drawn = torch.tensor([uniform])
    one, other = (next_tokens(each, drawn[None], Decoding(temperature=1.0), drawn) for each in (logits, moved))
    assert abs(int(one) - int(other)) <= 1


def test_a_stop_ends_a_text_before_itself_and_is_found_as_it_comes(built: Any) -> None:
    plain = {job.request: job for job in jobs()}
    whole = answers(built, list(plain.values()))
    for request, answer in whole.items():
        if len(answer.text) < 6:
            continue
        stop = answer.text[3:5]
        place = answer.text.index(stop)
        stopped = Generation(request.prompt, request.decoding, ("never", stop), request.seed)
        (cut,) = answers(built, [Job(stopped, plain[request].prompt)]).values()
        if request.decoding.temperature == 0:  # another request draws other numbers
            assert cut == Generated(answer.text[:place], place + 2, True)
        assert stop not in cut.text


def test_looking_for_stops_takes_a_number_of_tokens_that_does_not_grow(host: Host) -> None:
    module = decoder(host, "alibi")
    counts = []
    for length in (24, 48):
        tokenizer = Letters()
        request = Generation("x", Decoding(max_new_tokens=length), ("never",))
        (answer,) = answers(module, [Job(request, [5])], tokenizer=tokenizer).values()
        assert answer.tokens == length
        counts.append(tokenizer.decoded)
    assert counts[1] <= 2.5 * counts[0]


def test_the_end_of_text_ends_a_text_and_is_no_part_of_it(host: Host) -> None:
    module = decoder(host, "llama")
    request = Generation("x", Decoding(max_new_tokens=12, no_repeat_ngram=1))
    (whole,) = answers(module, [Job(request, [5, 9])]).values()
    tokenizer = Letters()
    tokenizer.special = SpecialTokens(eos=ord(whole.text[4]) - 64)
    (ended,) = answers(module, [Job(request, [5, 9])], tokenizer=tokenizer).values()
    assert ended == Generated(whole.text[:4], 4, True)


def test_a_prompt_that_leaves_no_room_loses_tokens_after_those_that_are_kept(host: Host) -> None:
    module = decoder(host, "gpt2")
    long = [1 + index % 60 for index in range(200)]
    request = Generation("long", Decoding(max_new_tokens=16))
    (short,) = answers(module, [Job(request, [*long[:3], *long[-45:]])]).values()
    (found,) = answers(module, [Job(request, long, kept=3, dropped=2)]).values()
    assert found == replace(short, cut=200 - 48, dropped=2)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 64))
def test_the_prompt_goes_before_the_answer_down_to_a_quarter_of_the_model(
    prompt: int, wanted: int, length: int
) -> None:
    ids = list(range(prompt))
    row = fit(Job(Generation("", Decoding(max_new_tokens=wanted)), ids, kept=1), length)
    kept_for_answer = max(1, min(wanted, length // 4))
    if prompt + wanted <= length:
        assert (list(row.ids), row.limit, row.cut) == (ids, wanted, 0)
    elif prompt + kept_for_answer <= length:
        assert (list(row.ids), row.limit, row.cut) == (ids, length - prompt, 0)
    elif length > 2:
        room = length - kept_for_answer
        assert list(row.ids) == [0, *ids[prompt - room + 1 :]]
        assert (row.limit, row.cut) == (kept_for_answer, prompt - room)


def test_an_answer_that_the_prompt_left_too_little_room_for_says_so(host: Host) -> None:
    module = decoder(host, "gpt2")
    long, ended = (Generation(name, Decoding(max_new_tokens=60)) for name in ("long", "ended"))
    found = answers(module, [Job(long, [3] * 40)])
    assert (found[long].tokens, found[long].short) == (24, 36)
    first = ord(found[long].text[0]) - 64
    assert answers(module, [Job(ended, [3] * 40, frozenset({first}))])[ended] == Generated("", 0, True)


def test_an_empty_prompt_is_refused_in_one_line(host: Host) -> None:
    with pytest.raises(DataError, match="--prefix"):
        answers(decoder(host, "gpt2"), [Job(Generation(""), [])])


class Crowded(ToyDecoder):
    """Runs out of memory with more than three rows."""

    def hidden(self, ids: Any, **more: Any) -> Any:
        if len(ids) > 3:
            raise torch.OutOfMemoryError("too many rows")
        return super().hidden(ids, **more)


class Full(ToyDecoder):
    """Runs out of memory always."""

    def hidden(self, ids: Any, **more: Any) -> Any:
        raise torch.OutOfMemoryError("too long")


class Plain(ToyDecoder):
    """Takes no mask and no positions."""

    def hidden(self, ids: Any, *, positions: Any = None, mask: Any = None, cache: Any = None) -> Any:
        if mask is not None or positions is not None:
            raise Unsupported("Plain takes no mask")
        return super().hidden(ids, cache=cache)


class Unjoined(ToyDecoder):
    """Its caches cannot be joined."""

    class Memory(ToyCache):
        def join(self, others: Sequence[ToyCache]) -> None:
            raise Unsupported("Unjoined keeps to itself")

    def new_cache(self, batch: int, length: int) -> ToyCache:
        return self.Memory()


def toy(kind: type[ToyDecoder]) -> Any:
    torch.manual_seed(0)
    return lively(kind(ToyConfig(max_length=64)))


@pytest.fixture
def ordinary() -> dict[Any, Generated]:
    return answers(toy(ToyDecoder), jobs())


def test_out_of_memory_halves_the_batch_and_goes_on(ordinary: dict[Any, Generated]) -> None:
    with pytest.warns(UserWarning, match="out of memory: going on with"):
        assert answers(toy(Crowded), jobs()) == ordinary
    with pytest.raises(Unsupported, match="does not fit into memory"), pytest.warns(UserWarning, match="out of mem"):
        answers(toy(Full), jobs())


@pytest.mark.parametrize("kind", [Plain, Unjoined])
def test_what_takes_no_mask_is_given_one_length_at_a_time(kind: Any, ordinary: dict[Any, Generated]) -> None:
    with pytest.warns(UserWarning, match="prompts of one length at a time") as caught:
        assert answers(toy(kind), jobs()) == ordinary
    assert len(caught) == 1


def test_every_request_draws_numbers_of_its_own() -> None:
    """2,000 requests: seeds of two bytes would make about 30 pairs of them draw alike."""
    decoding = Decoding(max_new_tokens=4, temperature=1.0)
    requests = [Generation(str(place // 2), decoding, seed=place % 2) for place in range(2000)]
    drawn = {tuple(uniforms(request).tolist()) for request in requests}
    assert len(drawn) == 2000
    assert all(0 <= each < 1 for row in drawn for each in row)
    others = [replace(decoding, temperature=0.9), replace(decoding, top_k=3), decoding]
    assert len({tuple(uniforms(Generation("0", each, ("x",))).tolist()) for each in others} - drawn) == 3
    assert torch.equal(uniforms(requests[7]), uniforms(replace(requests[7])))
