"""The order of training: what is read, how often, and that nothing but (seed, row) decides it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tilbench.errors import ConfigError, DataError
from tilbench.loader import load_plugins
from tilbench_trainers.data.packing import Stream, block_shares, permuted

MIXINGS = ("weighted", "source_balanced", "interleaved")


def stream(sizes: dict[str, int], weights: dict[str, float] | None = None, **options: object) -> Stream:
    """Sources whose ids are their own positions, so that a row says where it was cut."""
    given_weights = weights or dict.fromkeys(sizes, 1.0)
    sources = {name: (given_weights[name], np.arange(size, dtype=np.uint32)) for name, size in sizes.items()}
    settings_: dict[str, object] = {"sequence_length": 4, "rows": 2} | options
    return Stream(sources, **settings_)  # type: ignore[arg-type]


def rows_of(order: Stream, step: int) -> torch.Tensor:
    """The rows of a step with their last targets: int64 [rows, T + 1]."""
    batch = order.batch(step)
    assert torch.equal(batch.ids[:, 1:], batch.targets[:, :-1])
    return torch.cat([batch.ids, batch.targets[:, -1:]], dim=1)


@given(size=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
@settings(max_examples=30)
def test_permuted_is_a_permutation(size: int, key: int) -> None:
    assert sorted(permuted(index, size, key) for index in range(size)) == list(range(size))


def test_permuted_shuffles_differently_by_key() -> None:
    orders = {tuple(permuted(index, 50, key) for index in range(50)) for key in range(20)}
    assert len(orders) == 20
    assert tuple(range(50)) not in orders


def test_permuted_reaches_every_place_equally() -> None:
    places = Counter(permuted(3, 10, key) for key in range(4000))
    assert min(places.values()) > 300
    assert max(places.values()) < 500


def test_permuted_refuses_an_index_outside() -> None:
    with pytest.raises(IndexError, match=r"outside 0 … 9"):
        permuted(10, 10, 1)


@given(size=st.integers(9, 300), length=st.integers(2, 8), epoch=st.integers(0, 3), seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_an_epoch_has_every_token_once(size: int, length: int, epoch: int, seed: int) -> None:
    rows = size // length
    read = rows_of(stream({"a": size}, sequence_length=length, rows=rows, seed=seed), epoch)
    targets = read[:, 1:].flatten().tolist()
    assert len(set(targets)) == len(targets) == size - size % length
    assert torch.equal(read[:, 1:], (read[:, :1] + torch.arange(1, length + 1)) % size)


def test_what_an_epoch_leaves_out_changes() -> None:
    order = stream({"a": 103}, sequence_length=10, rows=10)
    left_out = [frozenset(range(103)) - set(order.batch(epoch).targets.flatten().tolist()) for epoch in range(30)]
    assert len(set(left_out)) > 20


def test_every_epoch_has_a_shuffle_of_its_own() -> None:
    order = stream({"a": 40}, rows=10)
    offsets = [[place.offset for place in order.places(epoch)] for epoch in range(10)]
    # where the cuts lie differs too; what follows what does not depend on that
    assert len({tuple((offset - each[0]) % 40 for offset in each) for each in offsets}) == 10


def test_the_remainder_of_an_epoch_is_no_row() -> None:
    order = stream({"a": 43}, rows=10)
    assert [place.epoch for step in range(3) for place in order.places(step)] == [0] * 10 + [1] * 10 + [2] * 10


def test_the_first_document_follows_the_last_separator() -> None:
    first = min(rows_of(stream({"a": 40}, rows=10), 0).tolist(), key=lambda row: row[1])
    assert first == [39, 0, 1, 2, 3]


@given(
    rows=st.sampled_from([1, 2, 3, 4, 6, 12]),
    mixing=st.sampled_from(MIXINGS),
    packing=st.sampled_from(["packed", "windows"]),
    first=st.integers(0, 40_000),
)
@settings(max_examples=60)
def test_order_does_not_depend_on_the_split(rows: int, mixing: str, packing: str, first: int) -> None:
    order = stream({"a": 50, "b": 31}, {"a": 3.0, "b": 1.0}, mixing=mixing, packing=packing)
    again = stream({"a": 50, "b": 31}, {"a": 3.0, "b": 1.0}, mixing=mixing, packing=packing)
    pieces = [again.read(start, rows) for start in range(first, first + 12, rows)]
    assert torch.equal(order.read(first, 12), torch.cat(pieces))


@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize("packing", ["packed", "windows"])
def test_a_batch_is_a_function_of_seed_and_step(mixing: str, packing: str) -> None:
    def fresh(seed: int) -> Stream:
        return stream({"a": 500, "b": 310}, rows=4, seed=seed, mixing=mixing, packing=packing)

    order = fresh(1)
    late_first = rows_of(order, 9000)
    for step in (3, 0, 7):
        order.batch(step)
    assert torch.equal(late_first, rows_of(order, 9000))
    assert torch.equal(late_first, rows_of(fresh(1), 9000))
    assert not torch.equal(late_first, rows_of(fresh(2), 9000))
    assert late_first.dtype == torch.int64
    assert late_first.shape == (4, 5)


@pytest.mark.parametrize("mixing", MIXINGS)
def test_each_source_keeps_its_epochs_whatever_the_mix(mixing: str) -> None:
    order = stream({"a": 40, "b": 24}, {"a": 0.5, "b": 0.5}, mixing=mixing, rows=1)
    starts: dict[str, list[int]] = {"a": [], "b": []}
    for step in range(200):
        starts[order.places(step)[0].source].append(order.places(step)[0].offset)
    assert len(set(starts["a"][:10])) == 10
    assert len(set(starts["b"][:6])) == 6


@pytest.mark.parametrize("mixing", MIXINGS)
def test_a_source_is_read_from_its_first_row_and_none_is_left_out(mixing: str) -> None:
    order = stream(
        {"a": 48_000, "b": 48_000, "c": 48_000}, {"a": 0.4, "b": 0.35, "c": 0.25}, mixing=mixing, rows=30_000
    )
    epochs: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for place in order.places(0):
        epochs[place.source].append(place.epoch)
    for found in epochs.values():  # 12,000 rows of 4 targets are an epoch, and later blocks go on from earlier ones
        assert found[:12_000] == [0] * min(12_000, len(found))
    if mixing != "source_balanced":
        assert {name: len(found) for name, found in epochs.items()} == {"a": 12_000, "b": 10_500, "c": 7_500}
    alone = [place.offset for place in stream({"a": 48_000}, rows=5000).places(0)]
    assert [place.offset for place in order.places(0) if place.source == "a"][:5000] == alone


def test_weighted_shares_are_exact_by_block_and_shuffled() -> None:
    order = stream(dict.fromkeys("abc", 40), {"a": 0.4, "b": 0.25, "c": 0.35}, rows=10_000)
    blocks = [[place.source for place in order.places(step)] for step in range(2)]
    for sources in blocks:
        assert Counter(sources) == {"a": 4000, "b": 2500, "c": 3500}
        assert abs(sources[:1000].count("a") - 400) < 80
    assert blocks[0] != blocks[1]


@pytest.mark.parametrize("mixing", MIXINGS)
def test_nothing_is_read_again_in_a_later_block(mixing: str) -> None:
    order = stream({"a": 70_000, "b": 70_000}, {"a": 0.6, "b": 0.4}, rows=22_000, mixing=mixing)
    places = order.places(0)
    assert len(set(places)) == 22_000
    assert {place.epoch for place in places} == {0}


@pytest.mark.parametrize("mixing", ["weighted", "source_balanced"])
def test_the_seed_decides_which_source_comes_when(mixing: str) -> None:
    orders = {
        tuple(place.source for place in stream(dict.fromkeys("ab", 40), rows=60, seed=seed, mixing=mixing).places(0))
        for seed in range(10)
    }
    assert len(orders) == 10


def test_balanced_takes_one_of_each_in_turn() -> None:
    order = stream(dict.fromkeys("abc", 40), {"a": 9.0, "b": 1.0, "c": 1.0}, rows=3, mixing="source_balanced")
    turns = [tuple(place.source for place in order.places(step)) for step in range(50)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert len(set(turns)) == 6


def test_interleaved_is_spread_evenly_and_the_same_for_every_seed() -> None:
    weights = {"a": 0.40, "b": 0.25, "c": 0.35}
    orders = [
        [
            place.source
            for place in stream(dict.fromkeys("abc", 40), weights, rows=400, seed=seed, mixing="interleaved").places(1)
        ]
        for seed in (0, 1)
    ]
    assert orders[0] == orders[1]
    for name, weight in weights.items():
        for rows in range(1, 400):
            assert abs(orders[0][:rows].count(name) - weight * rows) <= 2


def test_windows_begin_anywhere() -> None:
    order = stream({"a": 12}, rows=4000, packing="windows")
    starts = Counter(order.batch(0).ids[:, 0].tolist())
    assert set(starts) == set(range(8))
    assert min(starts.values()) > 400


def test_windows_count_epochs_by_the_tokens_that_were_read() -> None:
    order = stream({"a": 12}, rows=7, packing="windows")
    assert [place.epoch for place in order.places(0)] == [0, 0, 0, 1, 1, 1, 2]


def test_sources_of_one_size_are_shuffled_differently() -> None:
    order = stream({"a": 400, "b": 400}, rows=200, mixing="source_balanced")
    cuts = {name: [place.offset for place in order.places(0) if place.source == name] for name in "ab"}
    assert sorted(cuts["a"]) == sorted(cuts["b"])
    assert cuts["a"] != cuts["b"]


def test_windows_of_the_shortest_source() -> None:
    assert rows_of(stream({"a": 5}, packing="windows"), 0).tolist() == [[0, 1, 2, 3, 4]] * 2


@given(weights=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8), size=st.integers(8, 500))
@settings(max_examples=100)
def test_block_shares(weights: list[float], size: int) -> None:
    shares = block_shares(weights, size)
    assert sum(shares) == size
    assert min(shares) >= 1
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - weight / sum(weights) * size) <= len(weights)


@pytest.mark.parametrize(
    ("weights", "size", "shares"),
    [
        ([1, 1, 1.1], 10, [3, 3, 4]),  # 3.23, 3.23, 3.55: the largest remainder is the last
        ([1, 1, 1], 10, [4, 3, 3]),
        ([1e-9, 1e-9, 2, 4], 8, [1, 1, 2, 4]),  # 2.67, 5.33: the row comes from the one that is least below its share
    ],
)
def test_shares_by_largest_remainders(weights: list[float], size: int, shares: list[int]) -> None:
    assert block_shares(weights, size) == shares


def test_interleaved_puts_the_rows_of_a_source_into_the_middle_of_their_stretches() -> None:
    order = stream(dict.fromkeys("ab", 40), {"a": 3.0, "b": 1.0}, rows=8, mixing="interleaved")
    assert "".join(place.source for place in order.places(0)) == "aabaaaba"


def test_a_source_shorter_than_a_sequence_is_refused_with_numbers() -> None:
    with pytest.raises(DataError, match=r"'b' has 4 tokens, and one sequence needs 5 \(sequence_length 4 \+ 1\)"):
        stream({"a": 40, "b": 4})


def test_a_source_of_weight_zero_is_left_out() -> None:
    order = stream({"a": 40, "b": 2}, {"a": 1.0, "b": 0.0})
    assert {place.source for step in range(20) for place in order.places(step)} == {"a"}
    with pytest.raises(DataError, match="nothing to train on"):
        stream({"a": 40}, {"a": 0.0})


def test_a_place_is_where_the_row_begins() -> None:
    order = stream({"a": 40, "b": 24}, rows=6)
    batch, places = order.batch(31), order.places(31)
    assert batch.ids[:, 0].tolist() == [place.offset for place in places]
    assert str(places[0]).startswith(f"{places[0].source} token {places[0].offset} (epoch ")


@given(world=st.sampled_from([1, 2, 3, 4, 6, 12]), step=st.integers(0, 500), mixing=st.sampled_from(MIXINGS))
@settings(max_examples=30)
def test_ranks_share_the_rows_of_a_step(world: int, step: int, mixing: str) -> None:
    order = stream({"a": 500, "b": 310}, rows=12, mixing=mixing)
    whole = order.batch(step)
    parts = [order.batch(step, rank, world) for rank in range(world)]
    assert torch.equal(torch.cat([part.ids for part in parts]), whole.ids)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
    assert {part.predicted for part in parts} == {whole.predicted} == {12 * 4}


def test_rows_that_ranks_cannot_share_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"12 sequences .* which 5 processes cannot share equally"):
        stream({"a": 500}, rows=12).batch(0, 1, 5)


def test_document_masks_follow_the_separators() -> None:
    ids = np.array([5, 6, 0, 7, 8, 9, 0], dtype=np.uint16)
    order = Stream({"a": (1.0, ids)}, sequence_length=6, rows=1, separator=0, masked=True)
    batch = order.batch(0)
    assert batch.ids.tolist() == [[0, 5, 6, 0, 7, 8]]
    assert batch.segments is not None
    assert batch.segments.tolist() == [[1, 1, 1, 2, 2, 2]]
    assert batch.positions is not None
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 2]]
    assert batch.mask is not None
    assert batch.mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 1],
    ]
    with pytest.raises(ConfigError, match="document_masks needs a separator"):
        Stream({"a": (1.0, ids)}, sequence_length=6, rows=1, masked=True)


@pytest.mark.parametrize("name", ["gpt2", "llama", "alibi", "mla"])
def test_with_masks_documents_cost_what_they_cost_alone(name: str) -> None:
    """Every architecture, whatever it knows positions by."""
    sizes: dict[str, object] = {"vocab_size": 40, "max_length": 32, "hidden_size": 16, "num_layers": 2, "num_heads": 2}
    sizes |= {"intermediate_size": 32, "initializer_range": 0.5}
    if name == "mla":
        sizes |= {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
    architecture = load_plugins().registry.architectures.get(name)
    torch.manual_seed(0)
    known = architecture.Config.model_fields
    module = architecture.build(architecture.Config(**{k: v for k, v in sizes.items() if k in known})).eval()
    generator = np.random.default_rng(0)
    documents = [generator.integers(1, 40, size=size).tolist() for size in (5, 3, 9, 6)]
    ring = np.array([token for document in documents for token in (*document, 0)], dtype=np.uint16)
    batch = Stream({"a": (1.0, ring)}, sequence_length=len(ring) - 1, rows=1, separator=0, masked=True).batch(0)
    last = torch.tensor([[*batch.ids[0].tolist(), int(batch.targets[0, -1])]])
    masked = _nats(module, batch.ids, batch.targets, positions=batch.positions, mask=batch.mask)
    alone = torch.cat(
        [_nats(module, torch.tensor([[0, *document]]), torch.tensor([[*document, 0]])) for document in documents]
    )[: last.shape[1] - 1]
    torch.testing.assert_close(masked, alone, atol=1e-5, rtol=1e-5)
    plain = _nats(module, batch.ids, batch.targets)
    assert not torch.allclose(plain, alone, atol=1e-3)


@torch.no_grad()
def _nats(module: Any, ids: torch.Tensor, targets: torch.Tensor, **how: torch.Tensor | None) -> torch.Tensor:
    logits = module.project(module.hidden(ids, **how))
    return torch.nn.functional.cross_entropy(logits[0], targets[0], reduction="none")
