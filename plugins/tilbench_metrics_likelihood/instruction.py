"""How likely a model finds the answers of conversations, each after all that was said before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from tilbench.config.base import Schema
from tilbench.data.rows import Conversation, Row, row_of
from tilbench.errors import DataError, PluginError
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Continuation, Exchange, Likelihood, Request
from tilbench.results.statistics import Ratio, ratio_values
from tilbench.results.values import power_value
from tilbench.text.chat import template

__all__ = ["Instruction", "InstructionSettings"]

_RATIOS = {
    "bpb": Ratio("bits", "bytes", "bits/byte", "lower"),
    "bits_per_token": Ratio("bits", "tokens", "bits/token", "lower"),
    "bits_per_token_with_end": Ratio("bits_with_end", "tokens_with_end", "bits/token", "lower"),
    "end_tokens": Ratio("end_tokens", "ends", "tokens/end", "none"),
}
_PERPLEXITIES = {"perplexity": "bits_per_token", "perplexity_with_end": "bits_per_token_with_end"}


class InstructionSettings(Schema):
    """How conversations are written; part of the task's fingerprint."""

    template: Literal["alpaca", "chatml", "gemma", "plain"] = "plain"
    """The chat template that the model was tuned with (`tilbench.text.chat`)."""


class Instruction:
    """Bits per byte and perplexity of the assistant's turns; what stands before an answer is given and not scored.

    bpb = Σ bits / Σ UTF-8 bytes, both over all answers of all conversations; an answer's bits are −Σ log₂ p of its
    tokens after the rendered conversation up to it. perplexity = 2^(Σ bits / Σ tokens), over tokens, not a mean over
    answers. It compares within one tokenizer only, and is absent where a model has none. bits_per_token is its
    logarithm.

    A conversation is read as the ids that fine-tuning reads (`tilbench.scoring.encode.chat.exchange_ids`). Marks such
    as `<|im_start|>` are special tokens where the tokenizer has them, and nothing of the template is scored with an
    answer. The end of an answer is no byte of it and counts in the values `_with_end` only: perplexity_with_end is the
    exponential of the loss that `tilbench train` reports for held-out answers. end_tokens: the mean number of tokens
    that end an answer; more than 1 says that the tokenizer has no special token for the template's mark.

    What does not fit the model is cut from the left. Intervals: docs/statistics.md.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"conversations"})
    version: ClassVar[int] = 2
    Settings: ClassVar[type[InstructionSettings]] = InstructionSettings

    def __init__(self, settings: InstructionSettings, context: TaskContext) -> None:
        self.headline = "bpb"
        self._template = template(settings.template)

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for each answer after what stands before it, and then for its end."""
        made = []
        for place, before, answer in self._answers(row):
            turns = row.messages[: place + 1] if isinstance(row, Conversation) else ()
            exchange = Exchange(self._template.name, turns)
            made.append(Continuation(before, answer, exchange=exchange))
            made.append(Continuation(before + answer, "", exchange=replace(exchange, end=True)))
        return made

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Return the bits of the conversation's answers and of their ends, and what they can be divided by."""
        texts = [text for _, _, text in self._answers(row)]
        likelihoods = [answer for answer in answers if isinstance(answer, Likelihood)]
        if not len(likelihoods) == len(answers) == 2 * len(texts):
            raise PluginError(f"the {len(texts)} answers of {row.id!r} were not answered by two Likelihoods each")
        said, ends = likelihoods[::2], likelihoods[1::2]
        values = {"bits": _bits(said), "bytes": float(sum(len(text.encode()) for text in texts))}
        tokens = [each.tokens for each in likelihoods if each.tokens is not None]
        if len(tokens) == len(likelihoods):
            values["tokens"] = float(sum(tokens[::2]))
            values["end_tokens"], values["ends"] = float(sum(tokens[1::2])), float(len(texts))
            values["bits_with_end"] = values["bits"] + _bits(ends)
            values["tokens_with_end"] = float(sum(tokens))
        return ItemScore(row.id, row.cluster, values)

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return the corpus ratios; a single conversation has no interval."""
        values = ratio_values(scores, _RATIOS)
        for name, exponent in _PERPLEXITIES.items():
            if bits := values.get(exponent):
                values[name] = power_value(bits, 2.0, "perplexity/token")
        return values

    def _answers(self, row: Row) -> Sequence[tuple[int, str, str]]:
        """Return the number of each assistant turn, what stands before it, and the answer."""
        conversation = row_of(row, Conversation, "instruction")
        try:
            found = self._template.answers(conversation.messages)
        except DataError as error:
            raise DataError(f"row {row.id!r}: {error}") from None
        places = [place for place, (role, _) in enumerate(conversation.messages) if role == "assistant"]
        return [(place, *each) for place, each in zip(places, found, strict=True)]


def _bits(likelihoods: Sequence[Likelihood]) -> float:
    return -math.fsum(each.logprob for each in likelihoods) / math.log(2)
