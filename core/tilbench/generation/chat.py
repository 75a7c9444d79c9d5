"""A conversation with a model: its turns, and the part of them that fits into the model's context."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tilbench.errors import DataError, Unsupported
from tilbench.generation.texts import Settings, Trimmed, chat_prompt, finish
from tilbench.kinds.language_model import LanguageModel
from tilbench.kinds.requests import Generated, Generation
from tilbench.paths import atomic_path
from tilbench.scoring.decode.generate import Job, least
from tilbench.scoring.encode.chat import ChatEncoder
from tilbench.scoring.engine import TorchLanguageModel
from tilbench.text.chat import Template, Turn

__all__ = ["Conversation", "Reply"]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. prompt_tokens: what it was given; read: those that were not remembered from the turn before it.

    dropped: exchanges that were left out, the oldest first, because the context is full.
    """

    text: str
    tokens: int
    finish: str
    prompt_tokens: int
    read: int
    dropped: int


class Conversation:
    """Turns of a user and a model. dropped: how many of the oldest exchanges the model is no longer shown."""

    def __init__(self, model: LanguageModel, template: Template, settings: Settings, system: str = "") -> None:
        """Raises Unsupported for a model that takes texts alone, ConfigError as `ChatEncoder` does."""
        if not isinstance(model, TorchLanguageModel):
            raise Unsupported(f"{model.card.name} takes plain prompts only; talk to a decoder")
        self.system = system
        self.settings = settings
        self.dropped = 0
        self._model = model
        self._code = ChatEncoder(model.tokenizer, template)
        self._exchanges: list[tuple[Turn, Turn]] = []

    @property
    def turns(self) -> list[Turn]:
        """Every turn so far, the system prompt first; those that no longer fit too."""
        return [*self._system, *(turn for exchange in self._exchanges for turn in exchange)]

    @property
    def _system(self) -> list[Turn]:
        return [("system", self.system)] if self.system else []

    def reset(self) -> None:
        """Forget all turns but the system prompt."""
        self._exchanges, self.dropped = [], 0

    def say(self, text: str, show: Callable[[str], None]) -> Reply:
        """Answer the user, handing the answer to `show` as it comes, and remember both.

        Raises DataError where the system prompt and this turn alone do not fit into the context.
        """
        length, wanted = self._model.max_length, self.settings.decoding.max_new_tokens
        room = length - least(wanted, length)
        while True:
            kept = [turn for exchange in self._exchanges[self.dropped :] for turn in exchange]
            turns = [*self._system, *kept, ("user", text)]
            ids = chat_prompt(self._model, self._code, turns)
            if len(ids) <= room:
                break
            if not kept:
                raise DataError(
                    f"this turn takes {len(ids):,} tokens with the system prompt and the template, and {room:,} of the "
                    f"model's {length:,} are there beside an answer; shorten it"
                )
            self.dropped += 1
        decoding = replace(self.settings.decoding, max_new_tokens=min(wanted, length - len(ids)))
        stop = (*self._code.template.stop, *self.settings.stop)
        request = Generation(self._code.template.prompt(turns), decoding, stop, self.settings.seed)
        answer = self._model.stream(Job(request, ids, self._code.ends), Trimmed(show))
        return self._remember(text, answer, len(ids))

    def _remember(self, text: str, answer: Generated, prompt_tokens: int) -> Reply:
        said = answer.text.strip()
        self._exchanges.append((("user", text), ("assistant", said)))
        return Reply(said, answer.tokens, finish(answer), prompt_tokens, self._model.read, self.dropped)

    def save(self, path: Path) -> None:
        """Write the turns as one row of a dataset of conversations. Raises DataError where there are none."""
        if not self._exchanges:
            raise DataError("there is nothing to save yet")
        messages = [{"role": role, "content": content} for role, content in self.turns]
        with atomic_path(path) as aside:
            aside.write_text(json.dumps({"messages": messages}, ensure_ascii=False) + "\n", encoding="utf-8")
