"""How likely a model finds the answers of conversations, each after all that was said before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from tilbench.config.base import Schema
from tilbench.data.chat import template
from tilbench.data.rows import Conversation, Row
from tilbench.errors import DataError, PluginError
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Continuation, Likelihood, Request
from tilbench.results.statistics import Ratio, ratio_values
from tilbench.results.values import power_value

__all__ = ["Instruction", "InstructionSettings"]

_RATIOS = {
    "bpb": Ratio("bits", "bytes", "bits/byte", "lower"),
    "bits_per_token": Ratio("bits", "tokens", "bits/token", "lower"),
}


class InstructionSettings(Schema):
    """How conversations are written; part of the task's fingerprint."""

    template: Literal["alpaca", "chatml", "gemma", "plain"] = "plain"
    """The chat template that the model was tuned with (`tilbench.data.chat`)."""


class Instruction:
    """Bits per byte and perplexity of the assistant's turns; what stands before an answer is given and not scored.

    bpb = Σ bits / Σ UTF-8 bytes, both over all answers of all conversations; an answer's bits are −Σ log₂ p of its
    tokens after the rendered conversation up to it. perplexity = 2^(Σ bits / Σ tokens), the exponential of the mean
    loss that a trainer reports with all labels masked but the answers': over tokens, not a mean over answers.
    It compares within one tokenizer only, and is absent where a model has none. bits_per_token is its logarithm.

    The text that ends an answer (`<|im_end|>`) is not scored. A line break that a template has before the answer is
    scored with it where it is a token of its own, as spaces at the end of a context always are (`Continuation`), but
    is no byte of the answer. Marks such as `<|im_start|>` are read as the characters they are. What does not fit the
    model is cut from the left. Intervals: percentile bootstrap over conversations.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"conversations"})
    version: ClassVar[int] = 1
    Settings: ClassVar[type[InstructionSettings]] = InstructionSettings

    def __init__(self, settings: InstructionSettings, context: TaskContext) -> None:
        self.headline = "bpb"
        self._template = template(settings.template)
        self._seed = context.seed

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for each answer after what stands before it."""
        return [Continuation(before, answer) for before, answer in self._answers(row)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Return the bits of the conversation's answers and what they can be divided by."""
        texts = [text for _, text in self._answers(row)]
        likelihoods = [answer for answer in answers if isinstance(answer, Likelihood)]
        if not len(likelihoods) == len(answers) == len(texts):
            raise PluginError(f"the {len(texts)} answers of {row.id!r} were not answered by one Likelihood each")
        values = {
            "bits": -math.fsum(each.logprob for each in likelihoods) / math.log(2),
            "bytes": float(sum(len(text.encode()) for text in texts)),
        }
        tokens = [each.tokens for each in likelihoods if each.tokens is not None]
        if len(tokens) == len(texts):
            values["tokens"] = float(sum(tokens))
        return ItemScore(row.id, row.cluster, values)

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return the corpus ratios; a single conversation has no interval."""
        values = ratio_values(scores, _RATIOS, seed=self._seed)
        if bits := values.get("bits_per_token"):
            values["perplexity"] = power_value(bits, 2.0, "perplexity/token")
        return values

    def _answers(self, row: Row) -> Sequence[tuple[str, str]]:
        if not isinstance(row, Conversation):
            raise DataError(f"row {row.id!r}: instruction scores conversations, not {row.kind}")
        try:
            return self._template.answers(row.messages)
        except DataError as error:
            raise DataError(f"row {row.id!r}: {error}") from None
