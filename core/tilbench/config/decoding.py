"""How a text is written: the settings of decoding, their ranges, and what Transformers calls them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from tilbench.config.base import RECORDED

__all__ = [
    "SAMPLING",
    "TRANSFORMERS",
    "Decoding",
    "MaxNewTokens",
    "NoRepeatNgram",
    "Recommended",
    "RepetitionPenalty",
    "Sampling",
    "Stop",
    "Temperature",
    "TopK",
    "TopP",
]

Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False, description="0 takes the likeliest token.")]
TopK = Annotated[int, Field(ge=0, description="0 keeps all.")]
TopP = Annotated[float, Field(gt=0, le=1, description="1 keeps all.")]
RepetitionPenalty = Annotated[float, Field(gt=0, allow_inf_nan=False, description="1 is none.")]
NoRepeatNgram = Annotated[
    int, Field(ge=0, description="Tokens of the n-grams that may not come twice; 0 forbids none.")
]
MaxNewTokens = Annotated[int, Field(ge=1, description="Tokens at most; a text that has more to say is cut.")]
Stop = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...], Field(description="A text ends before the first of these.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen; what is not given is off. Ranges are checked where a schema reads it."""

    __pydantic_config__: ClassVar[ConfigDict] = RECORDED
    temperature: Temperature = 0.0
    top_k: TopK = 0
    top_p: TopP = 1.0
    repetition_penalty: RepetitionPenalty = 1.0
    no_repeat_ngram: NoRepeatNgram = 0


SAMPLING = tuple(field.name for field in fields(Sampling))
"""The settings that choose a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding(Sampling):
    """How a text is written: how its tokens are chosen, and how many at most."""

    max_new_tokens: MaxNewTokens = 64

    @classmethod
    def of(cls, settings: BaseModel) -> Decoding:
        """Return the decoding settings among the fields of `settings`, such as a metric's."""
        return Decoding(**settings.model_dump(include={field.name for field in fields(Decoding)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended(Decoding):
    """Decoding settings that a model comes with. As in Transformers, a temperature that is not given is 1."""

    temperature: Temperature = 1.0


TRANSFORMERS = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "repetition_penalty": "repetition_penalty",
    "no_repeat_ngram": "no_repeat_ngram_size",
    "max_new_tokens": "max_new_tokens",
}
"""What a setting is called here → what Transformers calls it."""
