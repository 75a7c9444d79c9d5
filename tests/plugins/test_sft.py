"""Fine-tuning on conversations: what is learned, what is cut, who sees whom; adapters, in 4 bits too; merging."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tilbench.checkpoints.folder import read_info
from tilbench.cli import cli
from tilbench.config.model import Adapter, Chat
from tilbench.data.rows import Conversation
from tilbench.errors import CheckpointError, ConfigError, DataError, TilbenchError, Unsupported
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.loader import load_plugins
from tilbench.publish.merge import merge
from tilbench.text.chat import TEMPLATES
from tilbench.training.fit import preview, train
from tilbench.training.resolve import resolve_training
from tilbench_huggingface.architecture import HuggingFaceArchitecture, HuggingFaceConfig
from tilbench_huggingface.weights import adapter_shapes
from tilbench_trainers.data.batch import IGNORED
from tilbench_trainers.sft.batches import ChatBatches, bins
from tilbench_trainers.sft.examples import Encoder, Example
from tilbench_trainers.sft.preview import checked, shown

REGISTRY = load_plugins().registry
BOS, EOS = 256, 257
MARKS = {"<|im_start|>": 258, "<|im_end|>": 259, "<start_of_turn>": 260, "<end_of_turn>": 261}


class ByteTokenizer:
    """UTF-8 bytes, and special tokens; `marks` are those that chat templates write."""

    family = "bytes-and-marks"
    size = 262
    fingerprint = "1"

    def __init__(self, marks: dict[str, int] | None = None) -> None:
        self.special = SpecialTokens(bos=BOS, eos=EOS, named={"<s>": BOS, "</s>": EOS, **(marks or {})})

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(each for each in ids if each < BOS).decode(errors="replace")

    def unknown(self, ids: Sequence[int]) -> int:
        return 0

    def byte_fallback(self, ids: Sequence[int]) -> int:
        return 0

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def encoder(template: str = "alpaca", length: int = 400, marks: dict[str, int] | None = None, **chat: Any) -> Encoder:
    settings_ = Chat.model_validate({"template": template, **chat})
    return Encoder(ByteTokenizer(marks), settings_, prefix=BOS, length=length)


def talk(*turns: str, system: str = "", identity: str = "1") -> Conversation:
    roles = [("user", "assistant")[place % 2] for place in range(len(turns))]
    first = [("system", system)] if system else []
    return Conversation(identity, (*first, *zip(roles, turns, strict=True)))


def only(made: Any) -> Example:
    assert len(made.found) == 1
    found: Example = made.found[0]
    return found


def learned(example: Example) -> list[int]:
    found: list[int] = example.ids[example.learned].tolist()
    return found


# What is learned


@pytest.mark.parametrize("marks", [None, MARKS])
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_answers_and_their_ends_are_learned_and_nothing_else(name: str, marks: dict[str, int] | None) -> None:
    code, row = (
        encoder(name, marks=marks),
        talk("Қалайсың?", "Жақсы, рақмет!", "Ал сен?", "Мен де.", system="Қысқа бол."),
    )
    example = only(code.encode([row]))
    end = {"alpaca": [EOS], "plain": [EOS], "chatml": [259], "gemma": [261]}[name]
    if marks is None and TEMPLATES[name].end:
        end = list(TEMPLATES[name].end.encode())
    space = " " if name == "plain" else ""
    wanted = [token for text in ("Жақсы, рақмет!", "Мен де.") for token in (*(space + text).encode(), *end)]
    assert learned(example) == wanted
    assert example.ids[0] == BOS
    assert example.ids.tolist().count(BOS) == 1
    checked(ByteTokenizer(marks), code, row, example)


@given(turns=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), min_size=2, max_size=6))
@settings(max_examples=60)
def test_any_conversation_is_learned_as_it_is_written(turns: list[str]) -> None:
    row = talk(*turns)
    for name, code in ((name, encoder(name, 5000, MARKS)) for name in TEMPLATES):
        made = code.encode([row])
        kept = row.messages[: len(turns) // 2 * 2]
        if not all(content.strip() for role, content in kept if role == "assistant"):
            assert not made.found
            continue
        text = "".join(segment.text for segment in TEMPLATES[name].render(kept) if segment.is_answer)
        if TEMPLATES[name].end:  # what a turn spells out stays text; the end itself is one token
            text = "".join(answer for _, answer in TEMPLATES[name].answers(kept))
        assert ByteTokenizer().decode(learned(only(made))) == text


def test_document_4s_format_learns_the_answer_alone() -> None:
    """The loss of a model does not move with its logits for prompt tokens, and its gradient there is zero."""
    example = only(encoder("chatml", marks=MARKS).encode([talk("Bağlam: …\n\nSoru?", "Cevap.")]))
    logits = torch.randn(1, len(example.inputs), ByteTokenizer.size, requires_grad=True)
    targets = torch.from_numpy(example.targets)
    nn.functional.cross_entropy(logits[0], targets, ignore_index=IGNORED).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    moved = logits.grad[0].abs().sum(-1) > 0
    assert moved.tolist() == example.learned[1:].tolist()
    assert int(moved.sum()) == len(b"Cevap.") + 1


def test_a_mark_that_a_turn_spells_out_stays_text() -> None:
    example = only(
        encoder("chatml", marks=MARKS).encode([talk("<|im_end|>\n<|im_start|>assistant", "no <|im_end|> here")])
    )
    assert learned(example) == [*b"no <|im_end|> here", 259]
    assert example.ids.tolist().count(259) == 2
    assert example.ids.tolist().count(258) == 2


def test_the_prefix_is_never_doubled() -> None:
    class Doubling(ByteTokenizer):
        def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
            return [[BOS, *each] if text.startswith("<start") else each for text, each in super_batch(self, texts)]

    def super_batch(tokenizer: ByteTokenizer, texts: Sequence[str]) -> list[tuple[str, list[int]]]:
        return [(text, tokenizer.encode(text)) for text in texts]

    code = Encoder(Doubling(), Chat(template="gemma"), prefix=BOS, length=400)
    assert only(code.encode([talk("Сәлем", "Сәлем")])).ids.tolist()[:2] == [BOS, ord("<")]
    with pytest.raises(DataError, match="row '1' begins with the token that every example begins with anyway"):
        encoder("gemma").encode([talk("<s>Сәлем", "Сәлем")])


def test_what_nobody_answered_is_left_out() -> None:
    made = encoder().encode([talk("a"), talk("a", "b", "c", identity="2"), talk("a", " ", identity="3")])
    assert [example.id for example in made.found] == ["2"]
    assert made.counts["without an answer, dropped"] == 2
    assert learned(made.found[0]) == [*b"b", EOS]


# What does not fit


def test_a_long_prompt_loses_its_beginning_and_that_is_counted() -> None:
    made = encoder(length=100).encode([talk("x" * 500, "the answer")])
    example = only(made)
    assert len(example.inputs) == 100
    assert learned(example) == [*b"the answer", EOS]
    assert ByteTokenizer().decode(example.ids.tolist()).endswith("x\n\n### Response:the answer")
    assert example.cut > 0
    assert str(made) == "1 examples; 1 with a prompt cut from the left"


def test_an_answer_is_never_cut() -> None:
    made = encoder(length=100).encode([talk("a", "y" * 200), talk("a", "b", identity="2")])
    assert [example.id for example in made.found] == ["2"]
    assert made.counts["too long, dropped"] == 1
    long = encoder(length=120).encode([talk("first", "y" * 90, "second", "kept")])
    assert learned(only(long)) == [*b"kept", EOS]
    assert long.counts["answers left out of long conversations"] == 1


def test_long_examples_can_be_dropped_instead() -> None:
    made = encoder(length=100, too_long="drop").encode([talk("x" * 500, "the answer")])
    assert not made.found
    assert made.counts["too long, dropped"] == 1


@given(sizes=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=4))
@settings(max_examples=60)
def test_whatever_is_cut_answers_are_whole(sizes: list[tuple[int, int]]) -> None:
    turns = [text for prompt, answer in sizes for text in ("x" * prompt, "y" * answer)]
    made = encoder(length=300).encode([talk(*turns)])
    for example in made.found:
        assert len(example.inputs) <= 300
        runs = [len(run) for run in ByteTokenizer().decode(learned(example)).split(" ") if run]
        answers = [answer for _, answer in sizes]
        assert sum(runs) in {sum(answers[place:]) for place in range(len(answers))}
    assert made.found or made.counts["too long, dropped"]


# Rows


@given(sizes=st.lists(st.integers(1, 50), max_size=60))
def test_bins_hold_every_item_once_and_no_more_than_fits(sizes: list[int]) -> None:
    filled = bins(sizes, 50)
    assert sorted(item for row in filled for item in row) == list(range(len(sizes)))
    assert all(sum(sizes[item] for item in row) <= 50 for row in filled)
    assert len(filled) <= math.ceil(11 / 9 * max(math.ceil(sum(sizes) / 50), sum(size > 25 for size in sizes))) + 1


def many(count: int, name: str = "a") -> list[Example]:
    return (
        encoder("plain")
        .encode([talk(f"{name}{n}", "yes " * (n % 7 + 1), identity=f"{name}{n}") for n in range(count)])
        .found
    )


def batches(**options: Any) -> ChatBatches:
    settings_: dict[str, Any] = {"sequence_length": 80, "rows": 4, "seed": 3, **options}
    return ChatBatches({"a": (1.0, many(40)), "b": (1.0, many(25, "b"))}, **settings_)


def test_a_batch_is_a_function_of_seed_and_step_and_ranks_share_it() -> None:
    late = batches().batch(900)
    other = batches()
    other.batch(3)
    assert torch.equal(other.batch(900).ids, late.ids)
    assert not torch.equal(batches(seed=4).batch(900).ids, late.ids)
    halves = [other.batch(900, rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat([half.ids for half in halves]), late.ids)
    assert {half.predicted for half in halves} == {late.predicted} == {int((late.targets != IGNORED).sum())}
    assert "a" in "".join(map(str, other.places(900)))


def test_an_epoch_has_every_example_once() -> None:
    order = ChatBatches({"a": (1.0, many(40))}, sequence_length=80, rows=1, seed=1)
    rows = order.epoch_rows()["a"]
    assert rows < 40
    for epoch in range(2):
        read = torch.cat([order.batch(step).targets for step in range(epoch * rows, (epoch + 1) * rows)])
        assert int((read != IGNORED).sum()) == sum(len(learned(example)) for example in many(40))


SIZES = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 32, "initializer_range": 0.5}
GEMMA_SIZES = {
    "model_type": "gemma3_text",
    "config": {
        **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1},
        **{"intermediate_size": 32, "head_dim": 8, "initializer_range": 0.5, "sliding_window": 16},
        "layer_types": ["sliding_attention", "full_attention"],
    },
}


@pytest.mark.parametrize(
    ("name", "sizes"), [("llama", SIZES), ("alibi", SIZES), ("gpt2", SIZES), ("huggingface", GEMMA_SIZES)]
)
def test_packed_examples_do_not_see_each_other(name: str, sizes: dict[str, Any]) -> None:
    architecture: Any = REGISTRY.architectures.get(name)
    torch.manual_seed(0)
    module: Any = architecture.build(architecture.Config(vocab_size=262, max_length=256, **sizes)).eval()
    examples = many(12)
    order = ChatBatches({"a": (1.0, examples)}, sequence_length=256, rows=1)
    batch, rows = order.batch(0), order._row(0)
    assert len(rows) > 3

    def nats(ids: Tensor, targets: Tensor, **how: Any) -> float:
        logits = module.project(module.hidden(ids, **how))
        return float(nn.functional.cross_entropy(logits[0], targets[0], ignore_index=IGNORED, reduction="sum"))

    with torch.no_grad():
        packed = nats(batch.ids, batch.targets, positions=batch.positions, mask=batch.mask)
        alone = sum(nats(torch.from_numpy(row.inputs)[None], torch.from_numpy(row.targets)[None]) for row in rows)
    assert packed == pytest.approx(alone, rel=1e-5)


def test_sources_without_an_example_are_refused() -> None:
    with pytest.raises(DataError, match="'a' has no example that fits into 80 tokens"):
        ChatBatches({"a": (1.0, [])}, sequence_length=80, rows=1)
    with pytest.raises(DataError, match="no source has a weight above 0"):
        ChatBatches({"a": (0.0, many(2))}, sequence_length=80, rows=1)


# The preview


def test_the_preview_marks_what_is_masked() -> None:
    example = only(encoder("chatml", marks=MARKS).encode([talk("Soru?", "Cevap.")]))
    text = shown(ByteTokenizer(MARKS), example)
    assert text == "⟦<s><|im_start|>user\nSoru?<|im_end|>\n<|im_start|>assistant\n⟧Cevap.<|im_end|>"


def test_the_preview_refuses_what_is_not_the_answer() -> None:
    row, code = talk("Soru?", "Cevap."), encoder()
    example = only(code.encode([row]))
    with pytest.raises(DataError, match="would be learned, and the answer is 'Cevap.'"):
        checked(ByteTokenizer(), code, row, Example("1", example.ids, ~example.learned))


def test_train_preview_shows_and_stops(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = CliRunner().invoke(cli, ["train", "auto-g-nano-1b:tiny-sft", "--preview", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "### Response:⟧When sunlight passes through the air" in result.output
    assert "⟦<s>Below is an instruction" in result.output
    assert "conversations/en: 9 conversations → 9 examples" in result.output
    assert not out.exists()
    with pytest.raises(Unsupported, match="'pretrain' has no preview"):
        list(preview(resolve_training("auto-g-nano-1b:tiny", REGISTRY, None), REGISTRY, out))


# Training

GEMMA = "gemma-3-kazakh-qlora:tiny-sft"


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def run(label: str, out: Path, *overrides: str, data_dir: Path | None = None) -> Path:
    return train(resolve_training(label, REGISTRY, data_dir, overrides), REGISTRY, out, progress=False)


@pytest.fixture(scope="module")
def qlora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("qlora") / "run"
    run(GEMMA, out, "recipe.steps=40", "recipe.checkpoint_every=20", "recipe.validate_every=10")
    return out


def test_qlora_halves_the_masked_loss_and_leaves_the_base_alone(qlora: Path) -> None:
    found = losses(qlora)
    assert found[-1] < 0.5 * found[0]
    first, last = qlora / "step-00000000", qlora / "step-00000040"
    base = (first / "base" / "model.safetensors").read_bytes()
    assert base == (last / "base" / "model.safetensors").read_bytes()
    assert b"quant_state.bitsandbytes__nf4" in base
    assert b"nested_absmax" in base  # double quantisation
    assert (first / "adapter_model.safetensors").read_bytes() != (last / "adapter_model.safetensors").read_bytes()
    info = read_info(last)
    assert info.prefix == 1
    config = HuggingFaceConfig(**info.architecture.config)
    adapter = sum(math.prod(shape) for shape in adapter_shapes(last).values())
    assert info.parameters == HuggingFaceArchitecture().parameters(config) + adapter
    assert json.loads((qlora / "conversations.json").read_text())["conversations/kk"]["examples"] == 9


def test_qlora_resumes_to_the_bit(qlora: Path, tmp_path: Path) -> None:
    shutil.copytree(qlora, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "step-00000040")
    again = run(GEMMA, tmp_path / "run", "recipe.steps=40", "recipe.checkpoint_every=20", "recipe.validate_every=10")
    for name in ("adapter_model.safetensors", "adapter_config.json", "base/model.safetensors"):
        assert (again / name).read_bytes() == (qlora / "step-00000040" / name).read_bytes()
    assert losses(tmp_path / "run") == losses(qlora)


def test_gradients_in_4_bits_are_right_after_a_validation() -> None:
    """On some processors bitsandbytes turns to a kernel without gradients once a module was in evaluation mode."""
    architecture: Any = REGISTRY.architectures.get("huggingface")
    spec = resolve_training(GEMMA, REGISTRY, None)
    torch.manual_seed(0)
    adapter = Adapter(rank=4, alpha=8, quantization="nf4")
    module: Any = architecture.adapt(architecture.build(spec.config), adapter)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    ids = torch.randint(0, 500, (2, 12))

    def gradients() -> list[Tensor]:
        module.zero_grad()
        module.train()
        module.project(module.hidden(ids)).square().mean().backward()
        return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]

    before = gradients()
    assert len(before) > 10
    module.eval()
    with torch.no_grad():
        module.hidden(ids)
    assert all(map(torch.equal, before, gradients()))
    plain: Any = module.model.get_base_model()
    assert {type(each).__name__ for each in plain.modules()} >= {"Linear4bit"}


def test_peft_alone_loads_the_adapter(qlora: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    last = qlora / "step-00000040"
    load: Any = AutoModelForCausalLM.from_pretrained
    with warnings.catch_warnings():  # what transformers deprecates in peft
        warnings.simplefilter("ignore", FutureWarning)
        theirs: Any = PeftModel.from_pretrained(load(last / "base", device_map={"": "cpu"}), str(last)).train()
    info = read_info(last)
    architecture: Any = REGISTRY.architectures.get("huggingface")
    ours = architecture.load(architecture.Config(**info.architecture.config), last).eval()
    ids = torch.randint(0, 500, (1, 12))
    with torch.no_grad():
        # In evaluation mode bitsandbytes may take a kernel that computes in bfloat16; there is no dropout.
        torch.testing.assert_close(theirs(ids).logits, ours(ids), atol=1e-5, rtol=1e-5)


def test_a_4_bit_base_is_merged_without_rounding_it_again(qlora: Path, tmp_path: Path) -> None:
    out = merge(f"{qlora}@40", tmp_path / "merged", REGISTRY)
    info = read_info(out)
    architecture: Any = REGISTRY.architectures.get("huggingface")
    config = architecture.Config(**info.architecture.config)
    whole: Any = architecture.load(config, out).eval()
    adapted: Any = architecture.load(config, qlora / "step-00000040").eval()
    assert not hasattr(whole.model, "peft_config")
    assert {parameter.dtype for parameter in whole.parameters()} == {torch.float32}
    assert info.parameters == sum(parameter.numel() for parameter in whole.parameters())
    assert len(info.lineage) == 1
    ids = torch.randint(0, 500, (2, 12))
    with torch.no_grad():
        torch.testing.assert_close(whole(ids), adapted(ids), atol=1e-4, rtol=1e-4)
    with pytest.raises(DataError, match="exists"):
        merge(str(qlora), out, REGISTRY)
    with pytest.raises(Unsupported, match="no adapter to merge"):
        merge(str(out), tmp_path / "again", REGISTRY)
    assert not (tmp_path / "again").exists()


NATIVE = ("recipe.steps=30", "recipe.adapter={rank: 8, alpha: 16, train_whole: [embedding, lm_head]}")


def test_lora_on_a_native_decoder_is_pefts(tmp_path: Path) -> None:
    from peft import PeftModel

    last = run("auto-g-nano-1b:tiny-sft", tmp_path / "run", *NATIVE)
    found = losses(tmp_path / "run")
    assert found[-1] < 0.75 * found[0]
    info = read_info(last)
    architecture: Any = REGISTRY.architectures.get("llama")
    config = architecture.Config(**info.architecture.config)
    ours: Any = architecture.load(config, last).eval()
    ids = torch.randint(0, 500, (2, 12))
    first = architecture.load(config, tmp_path / "run" / "step-00000000")
    frozen = {name: each for name, each in ours.state_dict().items() if ".base_layer." in name}
    assert len(frozen) == 12
    assert all(torch.equal(each, first.state_dict()[name]) for name, each in frozen.items())
    out = merge(str(tmp_path / "run"), tmp_path / "merged", REGISTRY)
    whole: Any = architecture.load(config, out).eval()
    plain: Any = architecture.build(config)
    base: Any = {name.replace(".base_layer.", "."): each for name, each in frozen.items()}
    plain.load_state_dict({**plain.state_dict(), **_norms(ours), **base})
    PeftModel.from_pretrained(plain, str(last))
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(ids), ours(ids))
        torch.testing.assert_close(whole(ids), ours(ids), atol=1e-5, rtol=1e-5)


def _norms(module: nn.Module) -> dict[str, Tensor]:
    return {name: each for name, each in module.state_dict().items() if "norm" in name}


def test_fine_tuning_starts_from_a_run_of_ours(tmp_path: Path) -> None:
    run("auto-g-nano-1b:tiny", tmp_path / "base", "recipe.steps=20")
    chat = (
        f"base={tmp_path / 'base'}",
        "recipe.steps=1",
        "recipe.schedule.warmup=0",
        "architecture.config.max_length=128",
    )
    long = "recipe.sequence_length=128"
    last = run("auto-g-nano-1b:tiny-sft", tmp_path / "sft", *chat, long)
    base, first = tmp_path / "base" / "step-00000020", tmp_path / "sft" / "step-00000000"
    assert (base / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()
    assert (base / "tokenizer.json").read_bytes() == (last / "tokenizer.json").read_bytes()
    assert read_info(last).prefix == read_info(base).prefix
    assert len(read_info(last).lineage) == 1
    with pytest.raises(CheckpointError, match="is of architecture llama, and the spec has alibi"):
        run(
            "turkish-v1:tiny",
            tmp_path / "other",
            f"base={tmp_path / 'base'}",
        )


def test_fine_tuning_starts_from_a_transformers_folder(tmp_path: Path) -> None:
    source = run(GEMMA, tmp_path / "first", "recipe.steps=1", "recipe.schedule.warmup=0")
    folder = merge(str(source), tmp_path / "folder", REGISTRY)
    for ours in ("tilbench.json", "tokenizer_family.json"):
        (folder / ours).unlink()
    options = ("recipe.steps=2", "recipe.schedule.warmup=0", "tokenizer.family=huggingface", "tokenizer.options={}")
    last = run(GEMMA, tmp_path / "run", f"base={folder}", *options)
    settings_ = json.loads((last / "adapter_config.json").read_text())
    assert settings_["base_model_name_or_path"] == str(folder.resolve())
    assert not (last / "base").exists()
    assert len(read_info(last).lineage) == 1
    with pytest.raises(ConfigError, match="is no tokenizer of family bpe"):
        run(GEMMA, tmp_path / "other", f"base={folder}")


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["recipe.chat=null"], ConfigError, r"needs recipe.chat.template: alpaca, chatml"),
        (["recipe.packing=windows"], ConfigError, "are for running text"),
        (
            ["data=[{dataset: text/en/train}]"],
            DataError,
            "holds documents, and trainer 'sft' learns from conversations",
        ),
        (["recipe.trainer=pretrain"], DataError, "trainer 'pretrain' learns from documents"),
        (
            ["recipe.trainer=pretrain", "data=[{dataset: text/en/train}]"],
            ConfigError,
            "recipe.chat is for trainer 'sft'",
        ),
        (["recipe.sequence_length=12"], DataError, "has no example that fits into 12 tokens"),
        (["data=[{dataset: exams/kk}]"], TilbenchError, "exams/kk"),
        (["base=/nowhere/at/all"], Unsupported, "starts from a checkpoint of ours only"),
        (["data=[{dataset: conversations/en, weight: 0}]"], ConfigError, "sum to zero"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, overrides: list[str], error: type[TilbenchError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        run("auto-g-nano-1b:tiny-sft", tmp_path / "run", *overrides)
    assert "\n" not in str(caught.value)
