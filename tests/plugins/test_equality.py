"""What a model says of a text does not depend on what is computed beside it, before it, or remembered of it.

Every causal class of Transformers that can be built small is tried, in fp32, against a fresh copy of the model that is
given one text and nothing else.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from tests.plugins.small_models import LENGTH, VOCABULARY, WINDOW, small_model
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tilbench.config.decoding import Decoding
from tilbench.errors import Unsupported
from tilbench.kinds.requests import Generation
from tilbench.scoring.decode.generate import Job, generate
from tilbench.scoring.forward.likelihood import Segment, SegmentScorer
from tilbench.scoring.forward.states import Budget, row_states
from tilbench.scoring.forward.trie import Trie
from tilbench_huggingface.decoder import HuggingFaceDecoder
from tilbench_huggingface.library import quiet

CPU = torch.device("cpu")
NOT_BUILT = {
    **dict.fromkeys(("bailing_hybrid", "kimi_linear", "zamba", "zamba2", "nemotron_h"), "layers of several kinds"),
    **dict.fromkeys(("blt", "git", "inkling2_loop_text", "inkling2_text", "phi4_multimodal"), "stays large"),
    **dict.fromkeys(("gemma3n", "gemma4", "gemma4_unified", "emu3", "mllama"), "its text model is another class"),
    **dict.fromkeys(("gemma4_assistant", "gemma4_unified_assistant"), "drafts for another model"),
    **dict.fromkeys(("musicgen", "musicgen_melody"), "writes sound"),
    **dict.fromkeys(("dots3_note", "dots3_note_text", "qwen4_exp", "qwen4_exp_text", "xlstm"), "sizes tied together"),
    **dict.fromkeys(("beam", "cohere_compass_text", "dory", "reformer"), "sizes tied together"),
    **dict.fromkeys(("dbrx", "prophetnet", "xlm"), "its class fails on its own config"),
    "xmod": "asks for a language beside the text",
}
"""Classes that no small model is made of, with the reason."""
LOOK_AHEAD = {"cpmant", "xlnet"}
CLASSES = sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(NOT_BUILT))
TRAINED = 32
"""Tokens that the models with scaled rotary angles were trained on; texts are shorter and longer."""
ROPES: dict[str, dict[str, Any]] = {
    "linear": {"factor": 2.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 2.0, "original_max_position_embeddings": TRAINED},
    "longrope": {
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [2.0, 3.0, 4.0, 5.0],
        "factor": 2.0,
        "original_max_position_embeddings": TRAINED,
    },
    "llama3": {
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": TRAINED,
    },
}
SCALED = [
    *(("llama", kind) for kind in ROPES),
    *(("qwen2", kind) for kind in ("dynamic", "longrope")),
    *(("phimoe", kind) for kind in ("longrope", "yarn")),
    ("phi3", "longrope"),
]


def scaled_model(name: str, kind: str) -> Any:
    """A small model whose rotary angles are scaled for texts longer than it was trained on."""
    rope = {"rope_type": kind, "rope_theta": 100.0, **ROPES[kind]}
    more: dict[str, Any] = {"max_position_embeddings": TRAINED if kind == "dynamic" else LENGTH}
    if name == "phimoe":
        rope |= {"short_mscale": 1.0, "long_mscale": 1.3}
    if name == "phi3":
        more["original_max_position_embeddings"] = TRAINED
    return small_model(name, rope_parameters=rope, **more)


def texts() -> list[list[int]]:
    """Texts of many lengths, on both sides of a window and of the trained length; most share a beginning."""
    draw = torch.Generator().manual_seed(1)

    def new(count: int) -> list[int]:
        return torch.randint(3, VOCABULARY, (count,), generator=draw).tolist()

    trunk = new(20)
    middle = trunk + new(10)
    return [trunk + new(4), middle + new(8), middle + new(27), middle + new(2), new(7), trunk + new(12), new(57)]


@torch.no_grad()
def logits(model: Any, ids: list[int]) -> torch.Tensor:
    """The logits [T, V] of a fresh copy of the model for one text."""
    with quiet():
        output: torch.Tensor = copy.deepcopy(model)(input_ids=torch.tensor([ids]), use_cache=False)[0]
    return output[0].double()


def expected(model: Any, segment: Segment) -> float:
    """The log-probability of a segment's targets."""
    found = logits(model, segment.ids.tolist()).log_softmax(-1)
    return float(sum(found[segment.first + place, target] for place, target in enumerate(segment.targets.tolist())))


class Numbers:
    """Stands for a tokenizer: a text is the numbers of its tokens."""

    size = VOCABULARY

    class special:
        eos = -1

    def decode(self, ids: Any) -> str:
        return " ".join(map(str, ids))


def check(model: Any) -> None:
    """Compare every way in which texts are computed with each alone."""
    decoder = HuggingFaceDecoder(model, LENGTH).eval()
    scorer = SegmentScorer(decoder, CPU, Budget(256), "model")
    segments = [Segment.of(np.array(ids[:-3]), np.array(ids[-3:])) for ids in texts()]
    wanted = [expected(model, segment) for segment in segments]
    assert max(wanted) - min(wanted) > 0.01  # the texts are told apart at all
    with torch.inference_mode():
        together = scorer.score(segments)
        after = [scorer.score([segment])[0] for segment in reversed(segments)][::-1]
        rows = scorer.score_by(row_states, segments, Trie.of([segment.ids for segment in segments]))
    for what, found in {"together": together, "after others": after}.items():
        assert [each.logprob for each in found] == pytest.approx(wanted, abs=5e-5), what
    if decoder.alone_above is None:
        assert [each.logprob for each in rows] == pytest.approx(wanted, abs=5e-5)
    check_cache(model, decoder)
    check_generation(model, decoder)


def check_cache(model: Any, decoder: HuggingFaceDecoder) -> None:
    """The last state of each part of a text, computed after what is remembered, is that of the text up to there."""
    ids = texts()[-1]
    cuts = [0, 20, 21, 47, len(ids)]
    with torch.inference_mode():
        cache = decoder.new_cache(1, len(ids))
        for start, stop in itertools.pairwise(cuts):
            states = decoder.hidden(torch.tensor([ids[start:stop]]), cache=cache)
            last = decoder.project(states[:, -1])[0].double()
            torch.testing.assert_close(last, logits(model, ids[:stop])[-1], rtol=1e-4, atol=2e-4)


def check_generation(model: Any, decoder: HuggingFaceDecoder) -> None:
    """Prompts continued side by side, each with a limit of its own, are continued as each alone without a cache."""
    limits = [3, 6, 4, 2]
    jobs = [
        Job(Generation(f"{number}", Decoding(max_new_tokens=limit)), ids[:-9] if len(ids) > 12 else ids)
        for number, (limit, ids) in enumerate(zip(limits, texts(), strict=False))
    ]
    with torch.inference_mode():
        batches = list(generate(decoder, Numbers(), jobs, CPU, 4096))  # type: ignore[arg-type]
    answers = {request.prompt: answer.text for batch in batches for request, answer in batch}
    for job in jobs:
        ids = list(job.prompt)
        for _ in range(job.request.decoding.max_new_tokens):
            ids.append(int(logits(model, ids)[-1].argmax()))
        assert answers[job.request.prompt] == Numbers().decode(ids[len(job.prompt) :])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CLASSES)
def test_a_text_is_scored_alike_in_any_company(name: str) -> None:
    model = small_model(name)
    if name in LOOK_AHEAD:
        with pytest.raises(Unsupported, match="no causal language model"):
            HuggingFaceDecoder(model)
        return
    check(model)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "kind"), SCALED)
def test_scaled_angles_are_those_of_the_text_itself(name: str, kind: str) -> None:
    check(scaled_model(name, kind))


@pytest.mark.parametrize(("name", "kind"), SCALED)
def test_texts_that_must_be_alone_are_named(name: str, kind: str) -> None:
    decoder = HuggingFaceDecoder(scaled_model(name, kind), LENGTH).eval()
    depends = kind in {"dynamic", "longrope"} or name == "phimoe"
    assert decoder.alone_above == (TRAINED if depends else None)
    segments = [Segment.of(np.array(ids[:-3]), np.array(ids[-3:])) for ids in texts()]
    with warnings.catch_warnings(record=True) as caught, torch.inference_mode():
        warnings.simplefilter("always")
        SegmentScorer(decoder, CPU, Budget(256), "model").score(segments)
    said = [str(each.message) for each in caught if "computed alone" in str(each.message)]
    assert bool(said) == depends
    assert all(f"above {TRAINED} tokens" in each for each in said)


def test_every_class_is_tried_or_has_a_reason() -> None:
    assert len(CLASSES) > 150
    assert set(NOT_BUILT) <= set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert WINDOW < TRAINED < LENGTH


@pytest.mark.parametrize("name", ["llama", "gemma2", "mamba"])
def test_a_class_is_tried_in_fp32_whatever_its_precision(name: str) -> None:
    model = small_model(name).to(torch.bfloat16)
    seen = []
    hook = model.get_input_embeddings().register_forward_hook(lambda *given: seen.append(given[2].dtype))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    decoder = HuggingFaceDecoder(model).eval()
    decoder.new_cache(1, LENGTH)
    assert set(seen) == {torch.float32}
    hook.remove()
    assert all(value.dtype == torch.bfloat16 for value in model.state_dict().values())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_window_is_tried_on_texts_longer_than_it() -> None:
    decoder = HuggingFaceDecoder(small_model("mistral")).eval()
    lengths = []
    hook = decoder.inner.get_input_embeddings().register_forward_hook(lambda *given: lengths.append(given[2].shape[1]))
    decoder.new_cache(1, WINDOW)
    assert max(lengths) < WINDOW
    decoder.new_cache(1, LENGTH)
    assert max(lengths) > WINDOW
    hook.remove()


def test_a_row_that_is_done_takes_no_position_beyond_the_model() -> None:
    decoder = HuggingFaceDecoder(small_model("gpt2"), LENGTH).eval()
    long, short = texts()[-1][:50], texts()[4]
    asked = [(long, 14), *(([*short, number], 57) for number in range(3, 13))]
    jobs = [Job(Generation(f"{n}", Decoding(max_new_tokens=limit)), ids) for n, (ids, limit) in enumerate(asked)]
    with torch.inference_mode():
        answers = [pair for batch in generate(decoder, Numbers(), jobs, CPU, 4096) for pair in batch]  # type: ignore[arg-type]
    assert len(answers) == len(jobs)
