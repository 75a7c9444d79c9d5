"""Perplexity of answers: by hand, and as a trainer's masked loss."""

from __future__ import annotations

import math
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

from tilbench.data.chat import TEMPLATES, template
from tilbench.data.language_id import identify
from tilbench.data.resolve import load_rows
from tilbench.data.rows import Conversation, Document
from tilbench.errors import DataError, PluginError
from tilbench.kinds.language_model import OpenOptions
from tilbench.kinds.metric import ItemScore, Metric, TaskContext
from tilbench.kinds.requests import Answer, Continuation, Generated, Likelihood
from tilbench.loader import load_plugins
from tilbench_huggingface.loader import HuggingFaceLoader
from tilbench_instruction.instruction import Instruction, InstructionSettings
from tilbench_tokenizers.huggingface import HuggingFace

REGISTRY = load_plugins().registry
ROWS = [
    row
    for name in ("kk", "en")
    for row in load_rows("chat", REGISTRY.get("datasets", f"conversations/{name}"), None).rows
    if isinstance(row, Conversation)
]
ONE = Conversation("c", (("user", "Bir?"), ("assistant", "İki"), ("user", "Üç?"), ("assistant", "Dört.")))


def metric(name: str = "plain") -> Instruction:
    return Instruction(InstructionSettings.model_validate({"template": name}), TaskContext(seed=1))


def scored(row: Conversation, *likelihoods: Likelihood, name: str = "plain") -> ItemScore:
    return metric(name).score(row, likelihoods)


def test_it_is_a_metric() -> None:
    assert isinstance(metric(), Metric)
    with pytest.raises(ValidationError):
        InstructionSettings.model_validate({"template": "vicuna"})
    assert set(InstructionSettings.model_json_schema()["properties"]["template"]["enum"]) == set(TEMPLATES)


def test_one_request_an_answer_with_all_that_was_said_before() -> None:
    first = "<start_of_turn>user\nBir?<end_of_turn>\n<start_of_turn>model\n"
    assert metric("gemma").requests(ONE) == [
        Continuation(first, "İki"),
        Continuation(
            f"{first}İki<end_of_turn>\n<start_of_turn>user\nÜç?<end_of_turn>\n<start_of_turn>model\n", "Dört."
        ),
    ]


def test_values_by_hand() -> None:
    other = Conversation("d", (("system", "s"), ("user", "x"), ("assistant", "yes")))
    scores = [
        scored(ONE, Likelihood(-2.0, 1), Likelihood(-5.0, 4), name="chatml"),
        scored(other, Likelihood(-3.0, 3), name="chatml"),
    ]
    assert dict(scores[0].values) == {"bits": pytest.approx(7 / math.log(2)), "bytes": 4 + 6, "tokens": 5}
    values = metric().aggregate(scores)
    assert values["bpb"].value == pytest.approx(10 / math.log(2) / 13)
    assert values["bpb"].of == ("bits", "bytes")
    assert values["perplexity"].value == pytest.approx(math.exp(10 / 8))  # over tokens, not over answers
    assert values["perplexity"].of is None
    assert values["perplexity"].low == pytest.approx(2 ** (values["bits_per_token"].low or 0))


def test_uniform_bytes_cost_eight_bits() -> None:
    answers = [text for _, text in template("alpaca").answers(ONE.messages)]
    likelihoods = [Likelihood(-8 * math.log(2) * len(text.encode()), None) for text in answers]
    values = metric().aggregate([scored(ONE, *likelihoods, name="alpaca")])
    assert values["bpb"].value == pytest.approx(8)
    assert values["bpb"].low is None
    assert set(values) == {"bpb"}


def test_what_cannot_happen_has_no_interval() -> None:
    values = metric().aggregate([scored(ONE, Likelihood(-math.inf, 2), Likelihood(-1.0, 2))] * 2)
    assert values["perplexity"].value == math.inf
    assert values["perplexity"].high is None


@given(st.lists(st.tuples(st.floats(-500, -0.01), st.integers(1, 50)), min_size=2, max_size=8), st.randoms())
def test_intervals_and_order(drawn: list[tuple[float, int]], shuffler: Any) -> None:
    row = Conversation("c", ONE.messages[:2])
    scores = [
        ItemScore(f"c{place}", f"c{place}", scored(row, Likelihood(logprob, tokens)).values)
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
    faulty: list[list[Answer]] = [[Likelihood(-1.0, 1)], [Likelihood(-1.0, 1), Generated("x", 1, True)]]
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


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_equal_to_the_masked_loss_of_transformers(folder: Path, name: str) -> None:
    load: Any = AutoModelForCausalLM
    reference = load.from_pretrained(folder).eval()
    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
    loss, count = 0.0, 0
    for row in ROWS:
        for before, answer in template(name).answers(row.messages):
            ids = tokenizer(before + answer, return_tensors="pt", add_special_tokens=False).input_ids
            labels = ids.clone()
            labels[:, : len(tokenizer(before.rstrip(), add_special_tokens=False).input_ids)] = -100
            kept = int((labels != -100).sum())
            with torch.no_grad():
                loss += float(reference(ids, labels=labels).loss) * kept
            count += kept
    model = HuggingFaceLoader().open(str(folder), OpenOptions(load_tokenizer=HuggingFace().load, batch_tokens=2048))
    bound = metric(name)
    asked = [(row, bound.requests(row)) for row in ROWS]
    found = {
        request: answer
        for batch in model.answer([each for _, some in asked for each in some])
        for request, answer in batch
    }
    scores = [bound.score(row, [found[request] for request in some]) for row, some in asked]
    assert sum(score.values["tokens"] for score in scores) == count
    assert bound.aggregate(scores)["perplexity"].value == pytest.approx(math.exp(loss / count), rel=1e-5)


# The sample conversations


@pytest.mark.parametrize("tag", ["kk-Cyrl", "en-Latn"])
def test_the_sample_is_conversations_in_its_language(tag: str) -> None:
    languages = [each for _, each in REGISTRY.all("languages")]
    rows = [row for row in ROWS if row.id.startswith(tag[:2])]
    assert len(rows) >= 8
    assert max(len(row.messages) for row in rows) >= 4
    asked = " ".join(content.split("### Input:")[0] for row in rows for role, content in row.messages if role == "user")
    assert identify(asked, languages) == tag
    for name in TEMPLATES:
        for row in rows:
            assert template(name).answers(row.messages)
