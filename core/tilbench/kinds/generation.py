"""What metrics that ask for texts share: decoding settings, prompt templates and seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from string import Formatter

from tilbench.config.base import Schema
from tilbench.config.decoding import (
    Decoding,
    MaxNewTokens,
    NoRepeatNgram,
    RepetitionPenalty,
    Stop,
    Temperature,
    TopK,
    TopP,
)
from tilbench.data.rows import Row
from tilbench.kinds.prompt import Prompt
from tilbench.kinds.requests import Generation

__all__ = ["GenerativeSettings", "check_template", "few_shot", "row_seed"]


class GenerativeSettings(Schema):
    """How one text a row is asked for: greedily and up to the end of the line, if nothing else is said."""

    instruction: str = ""
    """Text before the first example, in the task's language."""
    max_new_tokens: MaxNewTokens = 128
    temperature: Temperature = 0.0
    top_k: TopK = 0
    top_p: TopP = 1.0
    repetition_penalty: RepetitionPenalty = 1.0
    no_repeat_ngram: NoRepeatNgram = 0
    stop: Stop = ("\n",)

    def ask(self, prompt: Prompt, row: Row, seed: int) -> Generation:
        """Ask for the text after `prompt`, drawn with a seed of the row's own."""
        decoding = Decoding.of(self)
        return Generation(prompt.text, decoding, self.stop, row_seed(seed, row.id), prompt.optional, prompt.keep)


def row_seed(seed: int, row: str) -> int:
    """Return the seed of a row, 31 bits: a function of the task's seed and the row's id."""
    return int.from_bytes(hashlib.sha256(f"{seed}\x00{row}".encode()).digest()[:4], "big") >> 1


def check_template(template: str, known: Collection[str], needed: Collection[str]) -> str:
    """Return `template`, text with `{names}` out of `known`, for `str.format`.

    Raises ValueError for any other name, where one of `needed` is missing, and where it ends in a space: that belongs
    to what a model writes.
    """
    try:
        parts = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ValueError(f"{error}; a brace that is no field is written twice") from None
    for name, spec, conversion in parts:
        if name not in known or spec or conversion:
            shown = ", ".join(f"{{{field}}}" for field in known)
            raise ValueError(f"{{{name}}} is no field of a template; known: {shown}")
    if missing := [name for name in needed if name not in {part[0] for part in parts}]:
        raise ValueError(f"the template has no {{{missing[0]}}}")
    if template.endswith(" "):
        raise ValueError("the template ends in a space; it belongs to the text that the model writes")
    return template


def few_shot(instruction: str, solved: Sequence[tuple[str, str]], last: str) -> Prompt:
    """Return a prompt: the instruction, where there is one, solved blocks with their answers, the block to be solved.

    A blank line stands between any two. An answer follows its block after a space, or on the line that it begins.

    >>> few_shot("", [("1 + 1 =", "2")], "1 + 2 =").text
    '1 + 1 = 2\\n\\n1 + 2 ='
    """
    blocks = [block + ("" if block.endswith("\n") else " ") + answer for block, answer in solved]
    return Prompt.of(instruction, blocks, last)
