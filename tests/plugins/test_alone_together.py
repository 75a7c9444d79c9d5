"""Every registered architecture gives a text the same numbers, whatever is computed beside it, before it and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tilbench.kinds.architecture import Decoder
from tilbench.loader import Host, load_plugins
from tilbench.scoring.forward.likelihood import Segment, SegmentScorer
from tilbench.scoring.forward.states import Budget, row_states, tree_states
from tilbench.scoring.forward.trie import Trie, as_ids

_FOUND = load_plugins().registry.architectures.all()
NAMES = [name for name, each in _FOUND if "num_layers" in each.Config.model_fields]
"""The decoders that are built here; classes of Transformers have a test of their own."""
SIZES = {
    "vocab_size": 61,
    "max_length": 64,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "intermediate_size": 48,
}
NEEDED: dict[str, dict[str, Any]] = {
    "mla": {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
}
OPTIONAL: list[dict[str, Any]] = [{"num_kv_heads": 2, "bias": True}, {"tie_embeddings": False}]
LENGTHS = [3, 64, 1, 17, 40, 17]


@pytest.fixture(scope="module", params=[(name, extra) for name in NAMES for extra in ({}, *OPTIONAL)], ids=str)
def decoder(request: pytest.FixtureRequest, host: Host) -> Decoder:
    name, extra = request.param
    architecture = host.registry.architectures.get(name)
    fields = SIZES | NEEDED.get(name, {}) | extra
    if unknown := fields.keys() - architecture.Config.model_fields.keys():
        fields = {key: value for key, value in fields.items() if key not in unknown}
    torch.manual_seed(0)
    built = architecture.build(architecture.Config(**fields)).eval()
    assert isinstance(built, Decoder)
    return built


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    """Random ids of several lengths, one as long as the model and two that share their first half."""
    state = torch.Generator().manual_seed(1)
    made = [torch.randint(61, (length,), generator=state).tolist() for length in LENGTHS]
    made[5][:9] = made[3][:9]
    return made


@torch.inference_mode()
def alone(decoder: Decoder, text: Sequence[int]) -> Tensor:
    logits: Tensor = decoder(torch.tensor([text]))[0]  # type: ignore[operator]
    return logits


@torch.inference_mode()
def test_beside_longer_texts(decoder: Decoder, texts: list[list[int]]) -> None:
    rows = torch.zeros(len(texts), max(LENGTHS), dtype=torch.long)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    together = decoder(rows)  # type: ignore[operator]
    for row, text in zip(together, texts, strict=True):
        torch.testing.assert_close(row[: len(text)], alone(decoder, text), atol=1e-5, rtol=1e-5)


def test_after_other_texts(decoder: Decoder, texts: list[list[int]]) -> None:
    before = [alone(decoder, text) for text in texts]
    for text, first in reversed(list(zip(texts, before, strict=True))):
        assert torch.equal(alone(decoder, text), first)


@torch.inference_mode()
@pytest.mark.parametrize("chunk", [1, 7])
def test_with_a_cache(decoder: Decoder, texts: list[list[int]], chunk: int) -> None:
    for text in texts:
        cache = decoder.new_cache(1, len(text))
        ids = torch.tensor([text])
        states = [decoder.hidden(part, cache=cache) for part in torch.split(ids, chunk, dim=1)]
        found = decoder.project(torch.cat(states, 1)[0])
        torch.testing.assert_close(found, alone(decoder, text), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("ways", [tree_states, row_states])
@pytest.mark.parametrize("tokens", [1, 8, 4096])
def test_as_a_tree_and_as_rows(decoder: Decoder, texts: list[list[int]], ways: Any, tokens: int) -> None:
    scored = [text for text in texts if len(text) > 1]
    segments = [Segment.of(as_ids(text[:1]), as_ids(text[1:]), ranked=True) for text in scored]
    scorer = SegmentScorer(decoder, torch.device("cpu"), Budget(tokens), "toy")
    found = scorer.score_by(ways, segments, Trie.of([segment.ids for segment in segments]))
    for text, each in zip(scored, found, strict=True):
        shares = alone(decoder, text)[:-1].double().log_softmax(-1)
        expected = sum(float(share[target]) for share, target in zip(shares, text[1:], strict=True))
        assert each.logprob == pytest.approx(expected, abs=1e-4)
