"""Perplexity of answers: by hand, and as a trainer's masked loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tilbench.config.model import Chat
from tilbench.data.resolve import load_rows
from tilbench.data.rows import Conversation, Document
from tilbench.errors import DataError, PluginError
from tilbench.kinds.language_model import LanguageModel, ModelCard, OpenOptions
from tilbench.kinds.metric import ItemScore, Metric, TaskContext
from tilbench.kinds.requests import Answer, Continuation, Exchange, Generated, Likelihood, RequestKind
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.loader import load_plugins
from tilbench.scoring.encode.lost import LOST_NATS, lost_bytes
from tilbench.scoring.encode.prefix import Prefix
from tilbench.scoring.engine import TorchLanguageModel
from tilbench.text.chat import TEMPLATES, template
from tilbench.text.language_id import identify
from tilbench_huggingface.loader import HuggingFaceLoader
from tilbench_metrics_likelihood.instruction import Instruction, InstructionSettings
from tilbench_tokenizers.huggingface import HuggingFace
from tilbench_trainers.sft.examples import Encoder
from tilbench_trainers.sft.validation import ChatValidator

REGISTRY = load_plugins().registry
ROWS = [
    row
    for name in ("kk", "en")
    for row in load_rows("chat", REGISTRY.datasets.get(f"conversations/{name}"), None).rows
    if isinstance(row, Conversation)
]
ONE = Conversation("c", (("user", "Bir?"), ("assistant", "İki"), ("user", "Üç?"), ("assistant", "Dört.")))
SHORT = Conversation("c", ONE.messages[:2])


def metric(name: str = "plain") -> Instruction:
    return Instruction(InstructionSettings.model_validate({"template": name}), TaskContext(seed=1))


def scored(row: Conversation, *likelihoods: Likelihood, name: str = "plain") -> ItemScore:
    return metric(name).score(row, likelihoods)


def test_it_is_a_metric() -> None:
    assert isinstance(metric(), Metric)
    with pytest.raises(ValidationError):
        InstructionSettings.model_validate({"template": "vicuna"})
    assert set(InstructionSettings.model_json_schema()["properties"]["template"]["enum"]) == set(TEMPLATES)


def test_each_answer_is_asked_for_after_all_that_was_said_before_and_then_its_end() -> None:
    first = "<start_of_turn>user\nBir?<end_of_turn>\n<start_of_turn>model\n"
    second = f"{first}İki<end_of_turn>\n<start_of_turn>user\nÜç?<end_of_turn>\n<start_of_turn>model\n"
    one, two = Exchange("gemma", ONE.messages[:2]), Exchange("gemma", ONE.messages)
    assert metric("gemma").requests(ONE) == [
        Continuation(first, "İki", exchange=one),
        Continuation(f"{first}İki", "", exchange=replace(one, end=True)),
        Continuation(second, "Dört.", exchange=two),
        Continuation(f"{second}Dört.", "", exchange=replace(two, end=True)),
    ]


def test_values_by_hand() -> None:
    other = Conversation("d", (("system", "s"), ("user", "x"), ("assistant", "yes")))
    two, three = Likelihood(-2.0, 1), Likelihood(-3.0, 3)
    scores = [
        scored(ONE, two, Likelihood(-0.5, 1), Likelihood(-5.0, 4), Likelihood(-0.25, 1), name="chatml"),
        scored(other, three, Likelihood(-0.25, 1), name="chatml"),
    ]
    assert dict(scores[0].values) == {
        "bits": pytest.approx(7 / math.log(2)),
        "bits_with_end": pytest.approx(7.75 / math.log(2)),
        **{"bytes": 4 + 6, "tokens": 5, "tokens_with_end": 7, "end_tokens": 2, "ends": 2},
    }
    values = metric().aggregate(scores)
    assert values["bpb"].value == pytest.approx(10 / math.log(2) / 13)
    assert values["bpb"].of == ("bits", "bytes")
    assert values["perplexity"].value == pytest.approx(math.exp(10 / 8))  # over tokens, not over answers
    assert values["perplexity_with_end"].value == pytest.approx(math.exp(11 / 11))
    assert values["end_tokens"].value == 1
    assert values["perplexity"].of is None
    assert values["perplexity"].low == pytest.approx(2 ** (values["bits_per_token"].low or 0))


def test_uniform_bytes_cost_eight_bits() -> None:
    answers = [text for _, text in template("alpaca").answers(ONE.messages)]
    said = [Likelihood(-8 * math.log(2) * len(text.encode()), None) for text in answers]
    likelihoods = [each for answer in said for each in (answer, Likelihood(0.0, None))]
    values = metric().aggregate([scored(ONE, *likelihoods, name="alpaca")])
    assert values["bpb"].value == pytest.approx(8)
    assert values["bpb"].low is None
    assert set(values) == {"bpb"}


def test_what_cannot_happen_has_no_interval() -> None:
    values = metric().aggregate([scored(SHORT, Likelihood(-math.inf, 2), Likelihood(-1.0, 2))] * 2)
    assert values["perplexity"].value == math.inf
    assert values["perplexity"].high is None


@given(st.lists(st.tuples(st.floats(-500, -0.01), st.integers(1, 50)), min_size=2, max_size=8), st.randoms())
def test_intervals_and_order(drawn: list[tuple[float, int]], shuffler: Any) -> None:
    end = Likelihood(-0.5, 1)
    scores = [
        ItemScore(f"c{place}", f"c{place}", scored(SHORT, Likelihood(logprob, tokens), end).values)
        for place, (logprob, tokens) in enumerate(drawn)
    ]
    values = metric().aggregate(scores)
    for value in values.values():
        assert value.low is None or value.low <= value.value * (1 + 1e-9)
    shuffler.shuffle(scores)
    assert metric().aggregate(scores) == values


def test_faults_are_named() -> None:
    with pytest.raises(DataError, match="'d': instruction scores conversations, not documents"):
        metric().requests(Document("d", "text"))
    with pytest.raises(DataError, match="row 'c': the conversation has no turn of the assistant"):
        metric().requests(Conversation("c", (("user", "x"),)))
    faulty: list[list[Answer]] = [[Likelihood(-1.0, 1)] * 2, [*[Likelihood(-1.0, 1)] * 3, Generated("x", 1, True)]]
    for answers in faulty:
        with pytest.raises(PluginError, match="2 answers of 'c'"):
            metric().score(ONE, answers)


# As Transformers' masked loss


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a random GPT-2 and a byte-level BPE of the sample conversations."""
    path = tmp_path_factory.mktemp("gpt2")
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    fast.train_from_iterator([content for row in ROWS for _, content in row.messages], trainer)
    wrap: Any = PreTrainedTokenizerFast
    wrap(tokenizer_object=fast, bos_token="<s>", eos_token="</s>").save_pretrained(path)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gpt2", vocab_size=fast.get_vocab_size(), n_embd=32, n_layer=2, n_head=4, n_positions=1024
    )
    make: Any = AutoModelForCausalLM
    model = make.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)  # so that its choices are far from even
    model.save_pretrained(path)
    return path


def asked(model: LanguageModel, name: str, rows: Sequence[Conversation] = ROWS) -> list[ItemScore]:
    """Return what the metric makes of the answers of `model`."""
    bound = metric(name)
    requests = [(row, bound.requests(row)) for row in rows]
    found = {
        request: answer
        for batch in model.answer([each for _, some in requests for each in some])
        for request, answer in batch
    }
    return [bound.score(row, [found[request] for request in some]) for row, some in requests]


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_equal_to_the_masked_loss_of_transformers(folder: Path, name: str) -> None:
    """Answer by answer, each encoded by itself after what stands before it, without its end."""
    load: Any = AutoModelForCausalLM
    reference = load.from_pretrained(folder).eval()
    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False).input_ids
        return found

    loss, count, form = 0.0, 0, TEMPLATES[name]
    eos = [] if form.end else [tokenizer.eos_token_id]
    for row in ROWS:
        context: list[int] = []
        said = ""
        for before, answer in form.answers(row.messages):
            context += ids(before.removeprefix(said))
            target = ids(answer)
            labels = torch.tensor([[-100] * len(context) + target])
            with torch.no_grad():
                nats = reference(torch.tensor([context + target]), labels=labels).loss
            loss, count = loss + float(nats) * len(target), count + len(target)
            context += [*target, *ids(form.end), *eos]
            said = before + answer + form.end
    model = HuggingFaceLoader().open(str(folder), OpenOptions(load_tokenizer=HuggingFace().load, batch_tokens=2048))
    scores = asked(model, name)
    assert sum(score.values["tokens"] for score in scores) == count
    assert metric(name).aggregate(scores)["perplexity"].value == pytest.approx(math.exp(loss / count), rel=1e-5)


# As our own trainer's masked loss

MARKS = ("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>")
FAMILIES = sorted(name for name, family in REGISTRY.tokenizers.all() if family.trainable or name == "bytes")


@pytest.fixture(scope="module", params=[(family, marks) for family in FAMILIES for marks in (True, False)], ids=str)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Return a tokenizer of each family that is trained here, with the marks of templates and without."""
    name, marks = request.param
    family = REGISTRY.tokenizers.get(name)
    if not family.trainable:
        loaded: Tokenizer = family.load(name)
        return loaded
    texts = [turn for row in ROWS for _, turn in row.messages]
    trained: Tokenizer = family.train(texts, {"vocab_size": 600})
    if marks:
        missing = [mark for mark in MARKS if mark not in trained.special.named]
        trained = family.train(texts, {"vocab_size": 600, "special_tokens": missing})
        assert set(MARKS) <= set(trained.special.named)
    return trained


def decoder(tokenizer: Tokenizer, prefix: Prefix) -> tuple[TorchLanguageModel, torch.nn.Module]:
    architecture = REGISTRY.architectures.get("llama")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 32, "initializer_range": 0.5}
    module: Any = architecture.build(architecture.Config(vocab_size=tokenizer.size, max_length=4096, **sizes)).eval()
    card = ModelCard(name="toy", fingerprint="toy", supports=frozenset(RequestKind))
    options = OpenOptions(load_tokenizer=lambda _: tokenizer)
    return TorchLanguageModel(card, module, tokenizer, prefix, options), module


@pytest.mark.parametrize("contexts", [True, False])
@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_it_is_the_masked_loss_that_the_trainer_reports(tokenizer: Tokenizer, name: str, contexts: bool) -> None:
    rows = [row for row in ROWS if TEMPLATES[name].answers(row.messages)][:6]
    bos = tokenizer.special.bos if tokenizer.special.bos is not None else tokenizer.special.eos
    model, module = decoder(tokenizer, Prefix(bos, contexts and bos is not None, "bos"))
    encoder = Encoder(tokenizer, Chat.model_validate({"template": name}), prefix=bos if contexts else None, length=4096)
    examples = encoder.encode(rows).found
    trained = ChatValidator(module, torch.device("cpu"), {"rows": examples}, {"rows": 0.0}).measure()["rows"]["loss"]
    scores = asked(model, name, rows)
    learned = sum(int(example.learned[1:].sum()) for example in examples)
    assert sum(score.values["tokens_with_end"] for score in scores) == learned
    values = metric(name).aggregate(scores)
    answers = [text for row in rows for _, text in TEMPLATES[name].answers(row.messages)]
    lost = sum(lost_bytes(tokenizer, text, tokenizer.encode(text)) for text in answers)  # 8 bits each, beside the loss
    expected = trained + lost * LOST_NATS / learned
    assert math.log(values["perplexity_with_end"].value) == pytest.approx(expected, rel=1e-5)
    has_mark = not TEMPLATES[name].end or TEMPLATES[name].end in tokenizer.special.named
    assert (values["end_tokens"].value == 1) is has_mark
    assert values["perplexity"].value != values["perplexity_with_end"].value


# The sample conversations


@pytest.mark.parametrize("tag", ["kk-Cyrl", "en-Latn"])
def test_the_sample_is_conversations_in_its_language(tag: str) -> None:
    languages = [each for _, each in REGISTRY.languages.all()]
    rows = [row for row in ROWS if row.id.startswith(tag[:2])]
    assert len(rows) >= 8
    assert max(len(row.messages) for row in rows) >= 4
    asked = " ".join(content.split("### Input:")[0] for row in rows for role, content in row.messages if role == "user")
    assert identify(asked, languages) == tag
    for name in TEMPLATES:
        for row in rows:
            assert template(name).answers(row.messages)
