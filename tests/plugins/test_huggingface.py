"""The Hugging Face bridge: equal to Transformers and to lm-evaluation-harness, strict about what it loads."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tilbench.config.decoding import Decoding
from tilbench.config.model import Adapter
from tilbench.errors import CheckpointError, ConfigError, MissingDependency, TilbenchError, Unsupported
from tilbench.kinds.architecture import Architecture, Decoder
from tilbench.kinds.language_model import Loader, OpenOptions
from tilbench.kinds.requests import (
    Answer,
    Continuation,
    Document,
    Generated,
    Generation,
    Likelihood,
    NextWord,
    Ranked,
    Request,
)
from tilbench_huggingface.architecture import HuggingFaceArchitecture, HuggingFaceConfig
from tilbench_huggingface.cache import Way
from tilbench_huggingface.decoder import HuggingFaceDecoder
from tilbench_huggingface.library import quiet
from tilbench_huggingface.loader import HuggingFaceLoader
from tilbench_huggingface.source import resolve
from tilbench_huggingface.weights import load_model
from tilbench_tokenizers.huggingface import HuggingFace

TEXTS = [
    "Мектеп үлкен, кітап көп. A school is large and has many books.",
    "Okul büyük, kitap çok; la scuola è grande e i libri sono molti. " * 3,
    "x",
]
PAIRS = [
    ("Мектеп үлкен,", " кітап көп."),
    ("Мектеп үлкен, ", "кітап"),
    ("", "A school"),
    ("one two three", " four"),
]
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}
CLASSES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "llama": SMALL,
    "gemma2": {**SMALL, "sliding_window": 8, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0},
    "gemma3_text": {**SMALL, "hidden_size": 64, "num_hidden_layers": 4, "head_dim": 16, "sliding_window": 8},
    "mistral": {**SMALL, "sliding_window": 8},
    "mixtral": {**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "cohere": {**{k: v for k, v in SMALL.items() if k != "head_dim"}, "logit_scale": 0.3},
    "granite": {**{k: v for k, v in SMALL.items() if k != "head_dim"}, "logits_scaling": 0.5},
    "opt": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 64,
        "max_position_embeddings": 128,
        "word_embed_proj_dim": 32,
    },
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "rwkv": {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2, "context_length": 128},
}
NO_MASKS = {"mamba", "rwkv"}


def make_tokenizer(folder: Path, *, bos: bool = True, eos: bool = True, add_bos: bool = False) -> int:
    """Train a byte-level BPE and save it as Transformers does; return its size."""
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    special = [*(["<s>"] if bos else []), *(["</s>"] if eos else [])]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    fast.train_from_iterator(TEXTS, trainer)
    if add_bos:
        fast.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    names = {**({"bos_token": "<s>"} if bos else {}), **({"eos_token": "</s>"} if eos else {})}
    PreTrainedTokenizerFast(tokenizer_object=fast, **names).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return fast.get_vocab_size()


def make_model(folder: Path, name: str, vocab_size: int = 300, **more: Any) -> Any:
    """Save a random model whose logits are far from uniform."""
    torch.manual_seed(0)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    config = AutoConfig.for_model(name, vocab_size=vocab_size, **{**ids, **CLASSES[name], **more})
    make: Any = AutoModelForCausalLM.from_config
    model = make(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    model.save_pretrained(folder)
    return model


def make(folder: Path, name: str, **tokenizer: bool) -> Any:
    """Save a model with its tokenizer."""
    return make_model(folder, name, make_tokenizer(folder, **tokenizer))


def options(**more: Any) -> OpenOptions:
    return OpenOptions(**{"load_tokenizer": HuggingFace().load, "batch_tokens": 256, **more})


def ask(folder: Path | str, requests: list[Request], **more: Any) -> dict[Request, Answer]:
    model = HuggingFaceLoader().open(str(folder), options(**more))
    return {request: answer for batch in model.answer(requests) for request, answer in batch}


@torch.no_grad()
def plain(model: Any, context: list[int], targets: list[int]) -> float:
    """The sum of log-probabilities from whole logits."""
    logits = model(torch.tensor([context + targets])).logits[0].double().log_softmax(-1)
    return float(sum(logits[len(context) - 1 + place, token] for place, token in enumerate(targets)))


@pytest.mark.parametrize("name", CLASSES)
def test_likelihoods_equal_whole_logits(tmp_path: Path, name: str) -> None:
    model = make(tmp_path, name)
    tokenizer = HuggingFace().load(str(tmp_path))
    documents = [Document(text) for text in TEXTS]
    pairs = [Continuation(*pair) for pair in PAIRS]
    word = NextWord("Мектеп үлкен,", "кітап")
    answers = ask(tmp_path, [*documents, *pairs, word])
    for document in documents:
        answer = answers[document]
        assert isinstance(answer, Likelihood)
        expected = plain(model, [0], tokenizer.encode(document.text))
        assert answer.logprob == pytest.approx(expected, rel=1e-5, abs=1e-5)
    for pair in pairs:
        answer = answers[pair]
        assert isinstance(answer, Likelihood)
        context = pair.context.rstrip()
        whole = tokenizer.encode(pair.context + pair.continuation)
        cut = len(tokenizer.encode(context))
        head = whole[:cut] or [0]
        assert answer.logprob == pytest.approx(plain(model, head, whole[cut:]), rel=1e-5, abs=1e-5)
    ranked = answers[word]
    assert isinstance(ranked, Ranked)
    context_ids = tokenizer.encode(word.context)
    with torch.no_grad():
        last = model(torch.tensor([context_ids])).logits[0, -1]
    target = tokenizer.encode(word.context + " кітап")[len(context_ids)]
    assert ranked.rank == int((last > last[target]).sum()) + 1
    assert ranked.tied == int((last == last[target]).sum()) - 1


@pytest.mark.filterwarnings("ignore:.*computed again for every token")
@pytest.mark.parametrize("name", CLASSES)
def test_a_shared_beginning_is_right_and_a_class_that_cannot_share_it_says_so(tmp_path: Path, name: str) -> None:
    model = make(tmp_path, name)
    tokenizer = HuggingFace().load(str(tmp_path))
    options: list[Request] = [Continuation(TEXTS[0], f" {option}") for option in ("иә", "жоқ", "кітап")]
    with pytest.warns(UserWarning, match="takes no mask over packed texts") if name in NO_MASKS else nullcontext():
        answers = ask(tmp_path, options)
    for option in options:
        answer = answers[option]
        assert isinstance(option, Continuation)
        assert isinstance(answer, Likelihood)
        whole = tokenizer.encode(option.context + option.continuation)
        cut = len(tokenizer.encode(option.context))
        assert answer.logprob == pytest.approx(plain(model, whole[:cut], whole[cut:]), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_no_class_needs_whole_logits(tmp_path: Path, name: str) -> None:
    model = make_model(tmp_path, name)
    decoder = HuggingFaceDecoder(model)
    assert isinstance(decoder, Decoder)
    ids = torch.randint(0, 300, (2, 21))
    with torch.no_grad():
        hidden = decoder.hidden(ids)
        assert hidden.shape[-1] < 100
        torch.testing.assert_close(decoder.project(hidden), model(ids).logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(decoder.project(hidden[0, 3]), model(ids).logits[0, 3], rtol=1e-5, atol=1e-5)
        # Soft caps and scales are the class's own, however large the states are.
        assert decoder.project(50 * hidden).shape == (2, 21, 300)
    assert decoder.vocab_size == 300
    assert decoder.max_length == (2048 if name == "mamba" else 128)


def test_soft_cap_holds_for_large_states(tmp_path: Path) -> None:
    decoder = HuggingFaceDecoder(make_model(tmp_path, "gemma2"))
    logits = decoder.project(torch.full((3, 32), 1e4))
    assert float(logits.detach().abs().max()) == pytest.approx(3.0)


@pytest.mark.parametrize("name", CLASSES)
def test_cached_equals_whole(tmp_path: Path, name: str) -> None:
    decoder = HuggingFaceDecoder(make_model(tmp_path, name)).eval()
    ids = torch.randint(0, 300, (2, 23))
    again = pytest.warns(UserWarning, match="computed again for every token") if name == "rwkv" else nullcontext()
    with torch.no_grad():
        with again:
            cache = decoder.new_cache(2, 23)
        parts = [decoder.hidden(part, cache=cache) for part in torch.split(ids, [11, 1, 1, 7, 3], dim=1)]
        torch.testing.assert_close(torch.cat(parts, 1), decoder.hidden(ids), rtol=1e-4, atol=1e-4)
    assert cache.length == 23
    assert cache.way is {"mamba": Way.STEPS, "rwkv": Way.AGAIN}.get(name, Way.CHUNKS)


@pytest.mark.parametrize("name", CLASSES)
def test_masks_are_obeyed_or_refused(tmp_path: Path, name: str) -> None:
    decoder = HuggingFaceDecoder(make_model(tmp_path, name)).eval()
    ids = torch.randint(0, 300, (2, 7))
    positions = torch.tensor([0, 1, 2, 3, 4, 3, 4])
    mask = torch.ones(7, 7, dtype=torch.bool).tril()
    mask[5:, 3:5] = False
    if name in NO_MASKS:
        with pytest.raises(Unsupported, match="no explicit positions or mask"):
            decoder.hidden(ids, positions=positions, mask=mask)
        return
    with torch.no_grad():
        packed = decoder.hidden(ids, positions=positions, mask=mask)
        first, second = ids[:, :5], ids[:, [0, 1, 2, 5, 6]]
        torch.testing.assert_close(packed[:, :5], decoder.hidden(first), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(packed[:, 5:], decoder.hidden(second)[:, 3:], rtol=1e-4, atol=1e-5)
        # A trunk in the cache, a branch with a mask after it.
        cache = decoder.new_cache(2, 7)
        decoder.hidden(ids[:, :5], cache=cache)
        branch = decoder.hidden(ids[:, 5:], positions=positions[5:], mask=mask[5:], cache=cache)
        torch.testing.assert_close(branch, decoder.hidden(second)[:, 3:], rtol=1e-4, atol=1e-5)
        # Positions alone restart nothing: the mask stays causal.
        moved = decoder.hidden(ids, positions=torch.tensor([0, 1, 2, 0, 1, 2, 3]))
        assert not torch.allclose(moved[:, 3:], decoder.hidden(ids[:, 3:]), atol=1e-3)


@pytest.mark.parametrize("name", sorted(set(CLASSES) - NO_MASKS))
def test_branches_longer_than_a_window_equal_each_alone(tmp_path: Path, name: str) -> None:
    decoder = HuggingFaceDecoder(make_model(tmp_path, name)).eval()
    ids = torch.randint(0, 300, (1, 30))
    mask = torch.ones(30, 30, dtype=torch.bool).tril()
    mask[20:, 10:20] = False  # a trunk of 10 and two branches of 10
    positions = torch.cat([torch.arange(20), torch.arange(10, 20)])
    with torch.no_grad():
        alone = decoder.hidden(torch.cat([ids[:, :10], ids[:, 20:]], dim=1))[:, 10:]
        packed = decoder.hidden(ids, positions=positions, mask=mask)[:, 20:]
        cache = decoder.new_cache(1, 30)
        decoder.hidden(ids[:, :20], cache=cache)
        after = decoder.hidden(ids[:, 20:], positions=positions[20:], mask=mask[20:], cache=cache)
        cache.keep(torch.arange(10))
        kept = decoder.hidden(ids[:, 20:], cache=cache)
    for each in (packed, after, kept):
        torch.testing.assert_close(each, alone, rtol=1e-4, atol=1e-5)


def test_a_window_that_no_mask_reaches_is_refused(tmp_path: Path) -> None:
    decoder = HuggingFaceDecoder(make_model(tmp_path, "llama")).eval()
    decoder.inner.config.window_size = 8  # its code does not do what a window in a mask does
    with pytest.raises(Unsupported, match="windows of 8 tokens"):
        decoder.hidden(torch.zeros(1, 9, dtype=torch.long), mask=torch.ones(9, 9, dtype=torch.bool).tril())


@pytest.mark.filterwarnings("ignore:.*computed again for every token")
def test_class_that_cannot_be_cut_is_right_and_says_so(tmp_path: Path) -> None:
    model = make_model(tmp_path, "llama")
    whole = type(model).forward

    class Odd(type(model)):  # type: ignore[misc]
        def forward(self, input_ids: Any = None, **more: Any) -> Any:
            output = whole(self, input_ids=input_ids, **more)
            output.logits = output.logits + input_ids[..., None].float()  # no function of the states alone
            return output

    model.__class__ = Odd
    with pytest.warns(UserWarning, match="memory for a large vocabulary is not bounded"):
        decoder = HuggingFaceDecoder(model)
    ids = torch.randint(0, 300, (2, 9))
    with torch.no_grad():
        assert torch.equal(decoder.project(decoder.hidden(ids)), model(ids).logits)
        cache = decoder.new_cache(2, 9)
        parts = [decoder.hidden(part, cache=cache) for part in torch.split(ids, [5, 4], dim=1)]
        torch.testing.assert_close(torch.cat(parts, 1), model(ids).logits, rtol=1e-4, atol=1e-4)


def test_multimodal_gemma_3_scores_text(tmp_path: Path) -> None:
    vocab_size = make_tokenizer(tmp_path)
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gemma3",
        text_config={**CLASSES["gemma3_text"], "vocab_size": vocab_size},
        vision_config={**vision, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        bos_token_id=0,
    )
    build: Any = AutoModelForCausalLM.from_config
    model = build(config).eval()
    model.save_pretrained(tmp_path)
    text = HuggingFace().load(str(tmp_path)).encode(TEXTS[0])
    answer = ask(tmp_path, [Document(TEXTS[0])], prefix="bos")[Document(TEXTS[0])]
    assert isinstance(answer, Likelihood)
    assert answer.logprob == pytest.approx(plain(model, [0], text), rel=1e-5)
    assert HuggingFaceLoader().card(str(tmp_path), options(prefix="bos")).max_length == 128


def test_pickled_weights_are_read_but_run_nothing(tmp_path: Path) -> None:
    make(tmp_path, "llama")
    before = ask(tmp_path, [Document(TEXTS[0])])
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    assert ask(tmp_path, [Document(TEXTS[0])]) == before
    torch.save({**weights, "lm_head.weight": Path("code")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        HuggingFaceLoader().open(str(tmp_path), options())


def test_decoder_survives_copies_moves_and_tracing(tmp_path: Path) -> None:
    decoder = HuggingFaceDecoder(make_model(tmp_path, "gemma2")).eval()
    ids = torch.randint(0, 300, (2, 12))
    with torch.no_grad():
        expected = decoder(ids)
        other = copy.deepcopy(decoder)
        for parameter in other.parameters():
            parameter.zero_()
        assert torch.equal(decoder.project(decoder.hidden(ids)), expected)
        assert not other.project(other.hidden(ids)).any()
        traced: Any = torch.compile(decoder.hidden, backend="eager")
        head: Any = torch.compile(decoder.project, backend="eager")
        torch.testing.assert_close(head(traced(ids)), expected)
        decoder.to(torch.bfloat16)
        assert decoder.project(decoder.hidden(ids)).dtype == torch.bfloat16
        torch.testing.assert_close(decoder.project(decoder.hidden(ids)), decoder(ids))
    assert all(name.startswith("model.") for name in decoder.state_dict())


def test_class_that_looks_ahead_is_refused() -> None:
    config = AutoConfig.for_model("bert", vocab_size=300, **{**SMALL, "hidden_size": 32})
    build: Any = AutoModelForCausalLM.from_config
    with pytest.raises(Unsupported, match="no causal language model"):
        HuggingFaceDecoder(build(config))


@pytest.fixture
def harness() -> Callable[[Path], Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lm-eval's imports warn of other people's deprecations
        from lm_eval.models.huggingface import HFLM

    def open_model(folder: Path, **more: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=2, **more)

    return open_model


@pytest.mark.parametrize("name", ["gpt2", "gemma3_text", "mistral"])
@pytest.mark.parametrize("add_bos", [False, True])
def test_equal_lm_evaluation_harness(tmp_path: Path, name: str, add_bos: bool, harness: Callable[..., Any]) -> None:
    from lm_eval.api.instance import Instance

    make(tmp_path, name, add_bos=add_bos)
    texts = [*TEXTS, " ".join(TEXTS) * 2]  # the last takes several windows
    documents = [Document(text) for text in texts]
    pairs = [Continuation(*pair) for pair in PAIRS]
    answers = ask(tmp_path, [*documents, *pairs])

    def instances(kind: Any, arguments: list[Any]) -> list[Any]:
        return [Instance(kind, {}, each, index) for index, each in enumerate(arguments)]

    theirs = harness(tmp_path).loglikelihood(instances("loglikelihood", PAIRS), disable_tqdm=True)
    for pair, (logprob, greedy) in zip(pairs, theirs, strict=True):
        answer = answers[pair]
        assert isinstance(answer, Likelihood)
        assert answer.logprob == pytest.approx(logprob, rel=1e-5, abs=1e-5)
        assert answer.greedy == greedy
    # Where a tokenizer adds a bos, the harness conditions a document on two of them; here it is told not to.
    model = harness(tmp_path, **({"add_bos_token": False} if add_bos else {}))
    rolling = model.loglikelihood_rolling(
        instances("loglikelihood_rolling", [(text,) for text in texts]), disable_tqdm=True
    )
    for document, logprob in zip(documents, rolling, strict=True):
        answer = answers[document]
        assert isinstance(answer, Likelihood)
        assert answer.logprob == pytest.approx(logprob, rel=1e-5, abs=1e-4)


@pytest.mark.filterwarnings("ignore:.*computed again for every token")
@pytest.mark.parametrize("name", ["gpt2", "gemma3_text", "mamba", "rwkv"])
def test_greedy_generation_equals_generate(tmp_path: Path, name: str) -> None:
    model = make(tmp_path, name, add_bos=True)
    tokenizer = HuggingFace().load(str(tmp_path))
    request = Generation("Мектеп үлкен", Decoding(max_new_tokens=20))
    generated = ask(tmp_path, [request])[request]
    assert isinstance(generated, Generated)
    prompt = torch.tensor([[0, *tokenizer.encode(request.prompt)]])
    ids = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False, pad_token_id=1
    )
    assert generated.text == tokenizer.decode(ids[0, prompt.shape[1] :].tolist())
    assert generated.tokens >= 1


@pytest.mark.parametrize(
    ("tokenizer", "override", "shown"),
    [
        ({"add_bos": True}, "", "<s> (0)"),
        ({}, "", "<s> (0), before whole documents only"),
        ({"bos": False}, "", "</s> (0), before whole documents only"),
        ({}, "none", "none"),
        ({}, "eos", "</s> (1)"),
        ({}, "bos", "<s> (0)"),
    ],
)
def test_prefix_policies(tmp_path: Path, tokenizer: dict[str, bool], override: str, shown: str) -> None:
    make(tmp_path, "llama", **tokenizer)
    assert HuggingFaceLoader().card(str(tmp_path), options(prefix=override)).prefix == shown


def test_ambiguous_prefixes_are_refused(tmp_path: Path) -> None:
    loader = HuggingFaceLoader()
    make(tmp_path / "neither", "llama", bos=False, eos=False)
    for asked in ("", "bos", "eos"):
        with pytest.raises(CheckpointError, match="--prefix none, with which the first token of a text costs log2"):
            loader.card(str(tmp_path / "neither"), options(prefix=asked))
    assert loader.card(str(tmp_path / "neither"), options(prefix="none")).prefix.startswith("none")
    make_model(tmp_path / "contrary", "llama", make_tokenizer(tmp_path / "contrary"), bos_token_id=7)
    with pytest.raises(CheckpointError, match="bos is token 7, the tokenizer says 0"):
        loader.card(str(tmp_path / "contrary"), options())
    assert loader.card(str(tmp_path / "contrary"), options(prefix="bos")).prefix == "<s> (0)"
    with pytest.raises(ConfigError, match="write bos, eos or none"):
        loader.card(str(tmp_path / "contrary"), options(prefix="both"))


def test_card_needs_no_weights_and_follows_what_decides_answers(tmp_path: Path) -> None:
    model = make(tmp_path, "gpt2")
    loader = HuggingFaceLoader()
    assert isinstance(loader, Loader)
    card = loader.card(str(tmp_path), options())
    assert card.name == tmp_path.name
    assert card.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert card.max_length == 128
    assert card.tokenizer == HuggingFace().load(str(tmp_path)).fingerprint
    prints = {
        card.fingerprint,
        loader.card(str(tmp_path), options(dtype="bfloat16")).fingerprint,
        loader.card(str(tmp_path), options(prefix="none")).fingerprint,
    }
    assert len(prints) == 3
    (tmp_path / "README.md").write_text("no model reads this")
    assert loader.card(str(tmp_path), options()).fingerprint == card.fingerprint
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    assert loader.card(str(tmp_path), options()).fingerprint not in prints
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        loader.open(str(tmp_path), options())
    assert "\n" not in str(caught.value)


def _edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    changes: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
        rf"missing {name}$": lambda weights: weights.pop(name),
        r"extra model\.layers\.9\.x$": lambda weights: weights.update({"model.layers.9.x": torch.zeros(2)}),
        rf"misshapen {name} 3×3 for 64×32$": lambda weights: weights.update({name: torch.zeros(3, 3)}),
    }
    for number, (message, change) in enumerate(changes.items()):
        folder = tmp_path / str(number)
        make(folder, "llama")
        _edit(folder, change)
        with pytest.raises(CheckpointError, match=message) as caught:
            HuggingFaceLoader().open(str(folder), options())
        assert "\n" not in str(caught.value)


def test_tied_output_embedding_may_be_stored_or_not(tmp_path: Path) -> None:
    make(tmp_path, "gpt2")
    before = ask(tmp_path, [Document(TEXTS[0])])
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    parameters = HuggingFaceLoader().card(str(tmp_path), options()).parameters
    _edit(
        tmp_path,
        lambda weights: weights.update({"lm_head.weight": weights["transformer.wte.weight"].clone()}),
    )
    assert ask(tmp_path, [Document(TEXTS[0])]) == before
    assert HuggingFaceLoader().card(str(tmp_path), options()).parameters == parameters


def test_quantised_checkpoint_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "llama")
    content = json.loads((tmp_path / "config.json").read_text())
    content["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "config.json").write_text(json.dumps(content))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"bitsandbytes.*tilbench\[train\]"):
        load_model(tmp_path)


def test_what_is_recognised(tmp_path: Path) -> None:
    recognises = HuggingFaceLoader().recognises
    make_model(tmp_path / "model", "llama")
    assert recognises(str(tmp_path / "model"))
    for reference in ("hf:org/name", "hf:org/name@main", "hf:gpt2"):
        assert recognises(reference)
    for reference in ("hf:", "hf:a/b/c", "gpt2", str(tmp_path), str(tmp_path / "nowhere")):
        assert not recognises(reference)
    (tmp_path / "model" / "config.json").write_text("{")  # so that opening it says what is wrong
    assert recognises(str(tmp_path / "model"))
    (tmp_path / "model" / "tilbench.json").write_text("{}")
    assert not recognises(str(tmp_path / "model"))


def test_recognising_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, tilbench_huggingface\n"
        "from tilbench_huggingface.loader import HuggingFaceLoader\n"
        "from tilbench_huggingface.architecture import HuggingFaceArchitecture\n"
        f"HuggingFaceLoader().recognises({str(tmp_path)!r})\n"
        "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hub_models_are_fetched_without_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    make(tmp_path, "llama")
    asked: list[dict[str, Any]] = []

    def fetch(name: str, **more: Any) -> str:
        asked.append({"name": name, **more})
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    card = HuggingFaceLoader().card("hf:org/name@v1", options())
    assert card.name == "org/name@v1"
    assert [(each["name"], each["revision"]) for each in asked] == [("org/name", "v1")]
    assert "*.safetensors" in asked[0]["allow_patterns"]
    assert not {"*.py", "*.bin"} & set(asked[0]["allow_patterns"])
    resolve("hf:org/name", code=True)
    assert "*.py" in asked[1]["allow_patterns"]

    def offline(name: str, **more: Any) -> str:
        raise OSError("no network\nand a second line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(TilbenchError, match=r"hf download org/name --revision v1 --local-dir DIR") as caught:
        HuggingFaceLoader().card("hf:org/name@v1", options())
    assert "\n" not in str(caught.value)


def _adapted(folder: Path, **settings: Any) -> tuple[Any, HuggingFaceConfig]:
    """An adapter with values of its own, saved as the trainer saves it."""
    architecture = HuggingFaceArchitecture()
    small = {key: value for key, value in SMALL.items() if key != "max_position_embeddings"}
    config = HuggingFaceConfig(model_type="llama", vocab_size=make_tokenizer(folder), max_length=128, config=small)
    adapter = Adapter(**{"rank": 2, "alpha": 4, **settings})
    decoder = architecture.adapt(architecture.build(config), adapter).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    architecture.save(decoder, folder)
    return decoder, config


@pytest.mark.parametrize(
    "settings", [{}, {"targets": ["q_proj", "v_proj"], "train_whole": ["lm_head"], "dropout": 0.1}]
)
def test_adapters_come_back(tmp_path: Path, settings: dict[str, Any]) -> None:
    from peft import PeftModel

    decoder, config = _adapted(tmp_path, **settings)
    ids = torch.randint(0, config.vocab_size, (2, 9))
    expected = decoder(ids)
    architecture = HuggingFaceArchitecture()
    loaded = architecture.load(config, tmp_path)
    torch.testing.assert_close(loaded.eval()(ids), expected)
    assert [n for n, p in loaded.named_parameters() if p.requires_grad] == [
        n for n, p in decoder.named_parameters() if p.requires_grad
    ]
    base = load_model(tmp_path / "base")
    with quiet():
        theirs: Any = PeftModel.from_pretrained(base, str(tmp_path))
    torch.testing.assert_close(theirs(ids).logits, expected)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"

    card = HuggingFaceLoader().card(str(tmp_path), options())
    assert card.lineage
    assert card.parameters == sum(parameter.numel() for parameter in decoder.parameters())
    text = HuggingFace().load(str(tmp_path)).encode(TEXTS[0])
    answer = ask(tmp_path, [Document(TEXTS[0])], prefix="bos")[Document(TEXTS[0])]
    assert isinstance(answer, Likelihood)
    assert answer.logprob == pytest.approx(plain(decoder.model, [0], text), rel=1e-5)


def test_only_the_adapter_is_trained(tmp_path: Path) -> None:
    decoder, _ = _adapted(tmp_path, targets=["q_proj"])
    loss: Any = decoder.project(decoder.hidden(torch.randint(0, 200, (2, 9)))).sum()
    loss.backward()
    names = {name for name, parameter in decoder.named_parameters() if parameter.grad is not None}
    assert names
    assert all("q_proj.lora_" in name for name in names)


def test_adapters_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    _, config = _adapted(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    save_file({key: value for key, value in weights.items() if key != name}, path)
    with pytest.raises(CheckpointError, match=f"missing {name}"):
        HuggingFaceArchitecture().load(config, tmp_path)
    save_file({**weights, "more": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="extra more"):
        HuggingFaceArchitecture().load(config, tmp_path)
    save_file({**weights, name: torch.zeros(7, 7)}, path)
    with pytest.raises(CheckpointError, match="cannot be put on its base"):
        HuggingFaceArchitecture().load(config, tmp_path)
    content = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**content, "base_model_name_or_path": "nowhere"}))
    with pytest.raises(CheckpointError, match="'nowhere' is no folder"):
        HuggingFaceLoader().card(str(tmp_path), options())
    with pytest.raises(ConfigError, match="no module nowhere"):
        _adapted(tmp_path / "other", targets=["nowhere"])


def test_architecture_builds_saves_and_loads(tmp_path: Path) -> None:
    architecture = HuggingFaceArchitecture()
    assert isinstance(architecture, Architecture)
    small = {**CLASSES["gemma3_text"]}
    small.pop("max_position_embeddings")
    config = HuggingFaceConfig(model_type="gemma3_text", vocab_size=300, max_length=64, config=small)
    decoder: Any = architecture.build(config)
    assert (decoder.vocab_size, decoder.max_length) == (300, 64)
    assert architecture.parameters(config) == sum(parameter.numel() for parameter in decoder.parameters())
    ids = torch.randint(0, 300, (2, 20))
    logits = decoder(ids)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert float(loss.detach()) == pytest.approx(torch.tensor(300.0).log().item(), abs=0.3)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in decoder.parameters())
    architecture.save(decoder, tmp_path)
    (tmp_path / "tilbench.json").write_text("{}")
    loaded: Any = architecture.load(config, tmp_path)
    assert torch.equal(loaded(ids), decoder.eval()(ids))
    # A class's default padding id would keep one row of the embedding from training, after a resume at the latest.
    assert loaded.inner.get_input_embeddings().padding_idx is decoder.inner.get_input_embeddings().padding_idx is None
    assert next(architecture.load(config, tmp_path, dtype=torch.bfloat16).parameters()).dtype == torch.bfloat16
    with pytest.raises(CheckpointError, match="300 entries, that of the model spec 301"):
        architecture.load(config.model_copy(update={"vocab_size": 301}), tmp_path)
    with pytest.raises(CheckpointError, match="says gemma3_text, the model spec llama"):
        architecture.load(config.model_copy(update={"model_type": "llama"}), tmp_path)


def test_architecture_refuses_what_no_class_has() -> None:
    architecture = HuggingFaceArchitecture()
    with pytest.raises(ConfigError, match="did you mean llama"):
        architecture.build(HuggingFaceConfig(model_type="lama", vocab_size=9, max_length=9))
    with pytest.raises(ConfigError, match=r"config\.hidden_sise of llama does not exist; did you mean hidden_size"):
        architecture.build(HuggingFaceConfig(model_type="llama", vocab_size=9, max_length=9, config={"hidden_sise": 8}))
    with pytest.raises(ConfigError, match="no llama can be built"):
        architecture.build(
            HuggingFaceConfig(model_type="llama", vocab_size=9, max_length=9, config={"num_hidden_layers": -1.5})
        )


def test_full_size_gemma_3_has_its_published_size() -> None:
    config = HuggingFaceConfig(
        model_type="gemma3_text",
        vocab_size=262208,
        max_length=131072,
        config={
            "hidden_size": 2560,
            "num_hidden_layers": 34,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "intermediate_size": 10240,
            "sliding_window": 1024,
        },
    )
    assert HuggingFaceArchitecture().parameters(config) == 3_880_263_168


_MEMORY = """
import sys, threading, time
from pathlib import Path
from tilbench.kinds.language_model import OpenOptions
from tilbench.kinds.requests import Document
from tilbench_huggingface.loader import HuggingFaceLoader
from tilbench_tokenizers.huggingface import HuggingFace

def high() -> int:
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith('VmHWM')).split()[1])

options = OpenOptions(load_tokenizer=HuggingFace().load)
model = HuggingFaceLoader().open(sys.argv[1], options)
list(model.answer([Document('warm up')]))
Path('/proc/self/clear_refs').write_text('5')
before = high()
((_, answer),) = next(iter(model.answer([Document(''.join(chr(65 + 7 * n % 26) for n in range(2048)))])))
print(answer.tokens, high() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's record of peak memory")
def test_memory_is_bounded_for_a_large_vocabulary(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    small = {"max_position_embeddings": 2048, "num_hidden_layers": 1, "tie_word_embeddings": True}
    make_model(tmp_path, "llama", 262_144, **small)
    done = subprocess.run([sys.executable, "-c", _MEMORY, str(tmp_path)], capture_output=True, text=True, check=True)
    tokens, extra = map(int, done.stdout.split())
    assert tokens > 1900
    assert extra < 256 * 1024, f"{extra / 1024:.0f} MiB more than the weights"


KAZAKH = "мектеп үлкен кітап көп бала оқиды"


def kazakh_tokenizer(folder: Path, bos: int = 0, **config: Any) -> int:
    """Save a BPE of Kazakh letters alone, without an unknown token, that puts a token before every text."""
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast.train_from_iterator(
        [KAZAKH], trainers.BpeTrainer(vocab_size=60, special_tokens=["<s>", "</s>"], show_progress=False)
    )
    fast.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=fast, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return fast.get_vocab_size()


def test_a_token_before_texts_is_seen_whatever_the_vocabulary(tmp_path: Path) -> None:
    make_model(tmp_path, "llama", kazakh_tokenizer(tmp_path))
    assert HuggingFace().load(str(tmp_path)).encode("a") == []
    assert HuggingFaceLoader().card(str(tmp_path), options()).prefix == "<s> (0)"


def test_a_token_before_texts_that_no_vocabulary_has_is_one_line(tmp_path: Path) -> None:
    make_model(tmp_path, "llama", kazakh_tokenizer(tmp_path, bos=999))
    with pytest.raises(CheckpointError, match=r"puts id 999 before a text, and its vocabulary has \d+; .*--prefix"):
        HuggingFaceLoader().card(str(tmp_path), options())
    assert HuggingFaceLoader().card(str(tmp_path), options(prefix="bos")).prefix == "<s> (0)"


def test_a_record_says_where_transformers_reads_a_tokenizer_differently(tmp_path: Path) -> None:
    make(tmp_path, "llama")
    assert "tokenizer" not in HuggingFaceLoader().card(str(tmp_path), options()).details
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": "Qwen2Tokenizer"}))
    said = str(HuggingFaceLoader().card(str(tmp_path), options()).details["tokenizer"])
    assert "(Qwen2Tokenizer) replaces the normalizer and the pre_tokenizer of tokenizer.json" in said


@pytest.mark.parametrize("at", ["adapter", "around", "here"])
def test_a_relative_base_is_found_where_the_docs_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    adapter, here = tmp_path / "project" / "runs" / "lora", tmp_path / "here"
    _adapted(adapter)
    here.mkdir()
    monkeypatch.chdir(here)
    content = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**content, "base_model_name_or_path": "models/base"}))
    place = {"adapter": adapter, "around": tmp_path / "project", "here": here}[at] / "models" / "base"
    shutil.copytree(adapter / "base", place)
    assert resolve(str(adapter)).base.resolve() == place
    shutil.rmtree(place)
    with pytest.raises(
        CheckpointError, match=r"lora/adapter_config\.json: the base 'models/base' is no folder, seen from"
    ):
        HuggingFaceLoader().card(str(adapter), options())
