"""The token trie: every distinct beginning once, ancestors by their intervals."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tilbench.scoring.forward.trie import Trie, as_ids, shared_length

sequences = st.lists(st.lists(st.integers(0, 2) | st.just(70_000), max_size=9), max_size=12)


@given(sequences)
def test_paths_spell_their_sequences(given_ids: list[list[int]]) -> None:
    trie = Trie.of([as_ids(ids) for ids in given_ids])
    assert [trie.ids[path].tolist() for path in trie.paths] == given_ids
    assert all(trie.depth[path].tolist() == list(range(len(path))) for path in trie.paths)


@given(sequences)
def test_each_distinct_beginning_is_there_once(given_ids: list[list[int]]) -> None:
    trie = Trie.of([as_ids(ids) for ids in given_ids])
    assert len(trie) == len({tuple(ids[:end]) for ids in given_ids for end in range(1, len(ids) + 1)})
    assert {place for path in trie.paths for place in path.tolist()} == set(range(len(trie)))


@given(sequences)
def test_ancestors_are_those_whose_interval_holds_the_place(given_ids: list[list[int]]) -> None:
    trie = Trie.of([as_ids(ids) for ids in given_ids])
    for path in trie.paths:
        for depth, place in enumerate(path.tolist()):
            ancestors = [key for key in range(len(trie)) if key <= place < trie.end[key]]
            assert ancestors == path[: depth + 1].tolist()


@given(st.lists(st.integers(0, 1), max_size=8), st.lists(st.integers(0, 1), max_size=8))
def test_shared_length_is_that_of_the_common_beginning(one: list[int], two: list[int]) -> None:
    length = shared_length(as_ids(one), as_ids(two))
    assert one[:length] == two[:length]
    assert length == min(len(one), len(two)) or one[length] != two[length]
