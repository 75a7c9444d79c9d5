"""Chat templates: from the turns of a conversation to the text that a model reads and writes.

A turn is `(role, content)` with the roles system, user and assistant. A conversation begins with a system turn or
none; then user and assistant take turns, the user first. Templates are written out here and never read from a
checkpoint, where a template is a program.

alpaca: Taori et al., "Stanford Alpaca" (2023), as its `train.py` has it: nothing stands between "### Response:" and
the answer, which the end-of-text token ends. Its `input` is what follows the header "### Input:" in a user turn
(`with_input`). It is of one turn, without a system prompt; here, as in other programs, further turns follow after a
blank line without the opening sentence, and a system prompt takes the place of that sentence.

chatml: OpenAI's Chat Markup Language, as the template of Hub models has it. gemma: the template of Gemma 3: the system
prompt stands at the head of the first user turn, and turns lose the white space around them; `<bos>` is left to
the model's own prefix policy, so that it is never doubled. plain: roles spelled out, a line each, for models that know
no template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from tilbench.errors import DataError, UnknownName

__all__ = ["TEMPLATES", "Segment", "Template", "Turn", "template", "with_input"]

Turn = tuple[str, str]


class Segment(NamedTuple):
    """A piece of a rendered conversation; whether it is the assistant's, and so what a model learns to write."""

    text: str
    is_answer: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template.

    write: from turns to pieces of text. opening: what stands before an answer. end: the text that ends an answer, part
    of its segment; where it is empty, only the end-of-text token does, and a trainer adds it. stop: texts of which one
    ends a generated answer; what is before it is the answer.
    """

    name: str
    write: Callable[[Sequence[Turn]], Iterable[Segment]]
    opening: str
    end: str
    stop: tuple[str, ...]

    def render(self, turns: Sequence[Turn]) -> list[Segment]:
        """Return the conversation as pieces of text; no two in a row are of one kind.

        Raises DataError where the turns are no conversation.
        """
        _check(turns)
        grouped = groupby(self.write(turns), key=lambda segment: segment.is_answer)
        pieces = [Segment("".join(part.text for part in parts), is_answer) for is_answer, parts in grouped]
        return [piece for piece in pieces if piece.text]

    def prompt(self, turns: Sequence[Turn]) -> str:
        """Return the text after which a model writes the next answer; the last turn is the user's.

        Raises DataError where it is not, or the turns are no conversation.
        """
        if not turns or turns[-1][0] != "user":
            raise DataError("a prompt ends with a turn of the user, which the model answers")
        return "".join(segment.text for segment in self.render(turns)) + self.opening

    def answers(self, turns: Sequence[Turn]) -> list[tuple[str, str]]:
        """Return what stands before each assistant turn, and the answer as it is written, without its `end`.

        Raises DataError where the turns are no conversation or have no answer.
        """
        found: list[tuple[str, str]] = []
        for place, (role, content) in enumerate(turns):
            if role == "assistant":
                if not content.strip():
                    raise DataError(f"turn {place + 1} is an empty answer; remove the conversation or fill it in")
                written = [segment.text for segment in self.render(turns[: place + 1]) if segment.is_answer]
                found.append((self.prompt(turns[:place]), written[-1].removesuffix(self.end)))
        if not found:
            raise DataError("the conversation has no turn of the assistant")
        return found


def template(name: str) -> Template:
    """Return a template by its name. Raises UnknownName."""
    if name not in TEMPLATES:
        raise UnknownName("chat template", name, TEMPLATES)
    return TEMPLATES[name]


def with_input(instruction: str, text: str) -> str:
    """Return the content of a user turn that asks something of a text, in Alpaca's form; of no text, the instruction.

    >>> with_input("Translate to Italian.", "Good morning")
    'Translate to Italian.\\n\\n### Input:\\nGood morning'
    """
    return f"{instruction}{_INPUT}{text}" if text else instruction


def _check(turns: Sequence[Turn]) -> None:
    if not turns:
        raise DataError("the conversation has no turns")
    rest = turns[1:] if turns[0][0] == "system" else turns
    for place, (role, _) in enumerate(rest):
        wanted = ("user", "assistant")[place % 2]
        if role != wanted:
            number = place + 1 + len(turns) - len(rest)
            raise DataError(
                f"turn {number} is of the {role}, and of the {wanted} it must be: after a system turn or none, "
                "user and assistant take turns"
            )
    if not rest:
        raise DataError("the conversation has a system turn only")


_INPUT = "\n\n### Input:\n"
_TASK = "Below is an instruction that describes a task"
_APPROPRIATE = "Write a response that appropriately completes the request."


def _alpaca(turns: Sequence[Turn]) -> Iterator[Segment]:
    system = dict(turns).get("system")
    first = True
    for role, content in turns:
        if role == "user":
            further = ", paired with an input that provides further context" if _INPUT in content else ""
            opening = f"{_TASK}{further}. {_APPROPRIATE}" if system is None else system
            yield Segment(f"{opening if first else ''}\n\n### Instruction:\n{content}\n\n", is_answer=False)
            first = False
        elif role == "assistant":
            yield Segment("### Response:", is_answer=False)
            yield Segment(content, is_answer=True)


def _chatml(turns: Sequence[Turn]) -> Iterator[Segment]:
    for role, content in turns:
        yield Segment(f"<|im_start|>{role}\n", is_answer=False)
        yield Segment(f"{content}<|im_end|>", is_answer=role == "assistant")
        yield Segment("\n", is_answer=False)


def _gemma(turns: Sequence[Turn]) -> Iterator[Segment]:
    before = ""
    for role, content in turns:
        if role == "system":
            before = f"{content}\n\n"
            continue
        name = "model" if role == "assistant" else role
        yield Segment(f"<start_of_turn>{name}\n{before}", is_answer=False)
        yield Segment(f"{content.strip()}<end_of_turn>", is_answer=role == "assistant")
        yield Segment("\n", is_answer=False)
        before = ""


def _plain(turns: Sequence[Turn]) -> Iterator[Segment]:
    for role, content in turns:
        if role != "system":
            yield Segment(f"{role.capitalize()}:", is_answer=False)
        yield Segment(content if role == "system" else f" {content}", is_answer=role == "assistant")
        yield Segment("\n", is_answer=False)


TEMPLATES = {
    each.name: each
    for each in (
        Template("alpaca", _alpaca, "### Response:", "", ("\n\n### Instruction:",)),
        Template("chatml", _chatml, "<|im_start|>assistant\n", "<|im_end|>", ("<|im_end|>",)),
        Template("gemma", _gemma, "<start_of_turn>model\n", "<end_of_turn>", ("<end_of_turn>",)),
        Template("plain", _plain, "Assistant:", "", ("\nUser:",)),
    )
}
