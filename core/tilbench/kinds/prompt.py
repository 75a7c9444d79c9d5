"""A few-shot prompt, with what of it may be left out where it does not fit a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilbench.kinds.requests import Spans

__all__ = ["Prompt"]

_BETWEEN = "\n\n"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text of a prompt. optional, keep: the spans of its examples and the size of its instruction, as in requests.

    Both include the blank line after them, so that what is left is a prompt with fewer examples.
    """

    text: str
    optional: Spans = ()
    keep: int = 0

    @classmethod
    def of(cls, instruction: str, solved: Sequence[str], last: str) -> Prompt:
        """Return the instruction, where there is one, solved blocks and the last one, with blank lines between.

        >>> prompt = Prompt.of("Add.", ["1 + 1 = 2", "2 + 2 = 4"], "1 + 2 =")
        >>> prompt.text
        'Add.\\n\\n1 + 1 = 2\\n\\n2 + 2 = 4\\n\\n1 + 2 ='
        >>> [prompt.text[begin:end] for begin, end in prompt.optional], prompt.text[: prompt.keep]
        (['1 + 1 = 2\\n\\n', '2 + 2 = 4\\n\\n'], 'Add.\\n\\n')
        """
        text = instruction.strip() and instruction.strip() + _BETWEEN
        keep, optional = len(text), list[tuple[int, int]]()
        for block in solved:
            optional.append((len(text), len(text) + len(block) + len(_BETWEEN)))
            text += block + _BETWEEN
        return cls(text + last, tuple(optional), keep)
