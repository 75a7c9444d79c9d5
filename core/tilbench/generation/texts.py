"""Texts for prompts: which settings hold, how a prompt becomes tokens, and who writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tilbench.config.decoding import Decoding
from tilbench.data.files import read_rows
from tilbench.errors import ConfigError, DataError, Unsupported
from tilbench.kinds.capabilities.loader import HasWritingDefaults
from tilbench.kinds.language_model import LanguageModel, ModelCard, OpenOptions, WritingDefaults
from tilbench.kinds.requests import Generated, Generation, RequestKind, Unanswered
from tilbench.resolve.models import ModelSource
from tilbench.scoring.decode.generate import Job, fit
from tilbench.scoring.encode.chat import ChatEncoder
from tilbench.scoring.encode.reader import beyond
from tilbench.scoring.engine import TorchLanguageModel
from tilbench.text.chat import TEMPLATES, Template, template

__all__ = [
    "Settings",
    "Trimmed",
    "Writer",
    "chat_prompt",
    "choose_template",
    "finish",
    "open_writing",
    "read_prompts",
    "refuse_silent",
    "settings_for",
    "writing_defaults",
]

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How texts are written. origin: where the settings that no option gave are from, in words."""

    decoding: Decoding
    stop: tuple[str, ...] = ()
    seed: int = 0
    origin: str

    def __str__(self) -> str:
        """Return one line for people."""
        how = asdict(self.decoding)
        longest = how.pop("max_new_tokens")
        off = asdict(Decoding())
        if not how["temperature"]:
            off |= {name: how[name] for name in ("top_k", "top_p")}  # which then choose nothing
        said = [f"{name} {value:g}" for name, value in how.items() if value != off[name]]
        first = [] if how["temperature"] else ["the likeliest token"]
        drawn = [f"seed {self.seed}"] if how["temperature"] else []
        return ", ".join([*first, *said, f"at most {longest} tokens", *drawn]) + f" ({self.origin})"

    def plain(self) -> dict[str, Any]:
        """Return what was used as plain data."""
        return {**asdict(self.decoding), "stop": list(self.stop), "seed": self.seed}


def settings_for(
    defaults: WritingDefaults, given: Mapping[str, Any], *, stop: Sequence[str] = (), seed: int = 0
) -> Settings:
    """Return the model's own settings with those that were given laid over them.

    given: fields of `Decoding`, None where an option was not given. A model without settings takes the likeliest token.
    """
    own = defaults.generation
    over = {name: value for name, value in given.items() if value is not None}
    origin = defaults.origin if own else "the model comes with no settings"
    if over:
        origin += f"; {', '.join(over)} as given"
    fields = {**asdict(own or Decoding()), **over}
    return Settings(decoding=Decoding(**fields), stop=tuple(stop), seed=seed, origin=origin)


def choose_template(named: str, defaults: WritingDefaults) -> tuple[Template, str]:
    """Return the chat template that was named, or else the model's own, and where it is from.

    Raises ConfigError where there is neither.
    """
    if not (named or defaults.template):
        raise ConfigError(
            "the model does not say which chat template it was tuned with; name one with --template: "
            + ", ".join(TEMPLATES)
        )
    return template(named or defaults.template), "as given" if named else defaults.template_origin


def open_writing(source: ModelSource, options: OpenOptions) -> tuple[LanguageModel, WritingDefaults]:
    """Open a model that writes texts, with the settings it comes with.

    Raises Unsupported for one that does not, before any weight is loaded.
    """
    refuse_silent(source.card(options))
    return source.open(options), writing_defaults(source)


def refuse_silent(card: ModelCard) -> None:
    """Raise Unsupported for a model that writes no text."""
    if RequestKind.GENERATION not in card.supports:
        answers = " and ".join(sorted(card.supports))
        raise Unsupported(f"{card.name} writes no text: it answers {answers} requests only; name a decoder")


def writing_defaults(source: ModelSource) -> WritingDefaults:
    """Return the settings that a model comes with."""
    loader = source.loader
    return loader.defaults(source.reference) if isinstance(loader, HasWritingDefaults) else WritingDefaults()


def read_prompts(given: Sequence[str], file: Path | None, lines: Iterable[str] = ()) -> list[str]:
    """Return the prompts of the command line, then those of a file, then the lines, empty ones left out.

    A .txt file has a prompt a line; of rows (.jsonl and the like) the column `prompt` is one. Raises DataError where
    there is none at all.
    """
    prompts = list(given)
    if file is not None and file.suffix == ".txt":
        try:
            lines = [*file.read_text(encoding="utf-8-sig").splitlines(), *lines]
        except UnicodeDecodeError:
            raise DataError(f"{file} is not UTF-8 text; convert the file") from None
    elif file is not None:
        for place, row in read_rows(file):
            if not isinstance(row.get("prompt"), str):
                raise DataError(f"{place}: the row has no text in a column 'prompt'")
            prompts.append(row["prompt"])
    prompts += [line for each in lines if (line := each.rstrip("\r\n")).strip()]
    if not prompts:
        raise DataError("there is no prompt; give some as arguments, with --file, or a line each on standard input")
    return prompts


def finish(answer: Generated) -> str:
    """Return what ended a text: `stop` (a stop or the end-of-text token), `length` (`max_new_tokens`) or `context`.

    `context`: the prompt left fewer tokens than `max_new_tokens`, and the text used them up.
    """
    if answer.complete:
        return "stop"
    return "context" if answer.short else "length"


class Writer:
    """Writes a text for each prompt; with a template, a prompt is what a user says, and the text the answer."""

    def __init__(self, model: LanguageModel, settings: Settings, chat: Template | None = None) -> None:
        """Raises Unsupported where a template is asked of a model that takes texts alone."""
        if chat is not None:
            settings = replace(settings, stop=(*chat.stop, *settings.stop))
        self.settings = settings
        self.cut = 0
        """Prompts that were longer than the model has room for, and lost their beginning."""
        self.short = 0
        """Texts that ended before `max_new_tokens`, where the model has no more room."""
        self._model = model
        self._chat: ChatEncoder | None = None
        if chat is not None:
            if not isinstance(model, TorchLanguageModel):
                raise Unsupported(f"{model.card.name} takes plain prompts only; leave out --template")
            self._chat = ChatEncoder(model.tokenizer, chat)

    def stream(self, prompt: str, show: Show) -> Generated:
        """Write one text, handing it to `show` as it comes."""
        if not isinstance(self._model, TorchLanguageModel):
            (answer,) = self.batch([prompt])
            show(answer.text)
            return answer
        job = self._job(prompt)
        trimmed = Trimmed(show) if self._chat else show
        return self._answer(self._model.stream(job, trimmed))

    def batch(self, prompts: Sequence[str]) -> Iterator[Generated]:
        """Yield the text of each prompt, in order, as soon as those before it are there."""
        requests = [self._request(prompt) for prompt in prompts]
        known: dict[Generation, Generated] = {}
        wanted = iter(requests)
        request = next(wanted, None)
        for group in self._answers(dict(zip(requests, prompts, strict=True))):
            known.update(group)
            while request in known:
                yield self._answer(known[request])
                request = next(wanted, None)

    def _answers(self, asked: Mapping[Generation, str]) -> Iterator[Sequence[tuple[Generation, Generated]]]:
        if isinstance(self._model, TorchLanguageModel):
            yield from self._model.write([self._job(prompt) for prompt in asked.values()])
            return
        for group in self._model.answer(list(asked)):
            yield [(request, answer) for request, answer in group if isinstance(request, Generation)]  # type: ignore[misc]

    def _request(self, prompt: str) -> Generation:
        text = self._chat.template.prompt([("user", prompt)]) if self._chat else prompt
        return Generation(text, self.settings.decoding, self.settings.stop, self.settings.seed)

    def _job(self, prompt: str) -> Job:
        model = self._model
        assert isinstance(model, TorchLanguageModel)
        request = self._request(prompt)
        if self._chat is None:
            ((_, job),) = model.reader.jobs([request])
            if isinstance(job, Unanswered):
                fix = "" if prompt else "; give the model a prefix with --prefix"
                raise DataError(f"the prompt {prompt[:40]!r} has no answer: {job.reason}{fix}")
        else:
            ids = chat_prompt(model, self._chat, [("user", prompt)])
            job = Job(request, ids, self._chat.ends, kept=len(ids[:1]))
        self.cut += fit(job, model.max_length).cut > 0
        return job

    def _answer(self, answer: Generated) -> Generated:
        self.short += answer.short > 0
        return replace(answer, text=answer.text.strip()) if self._chat else answer


def chat_prompt(model: TorchLanguageModel, chat: ChatEncoder, turns: Sequence[tuple[str, str]]) -> list[int]:
    """Return the ids that a model reads before its next answer, as in fine-tuning: after one prefix token.

    A prefix that stands before whole documents only is not for conversations. Raises DataError for a turn with a token
    that the model's embedding has no row for.
    """
    ids = chat.prompt(turns)
    if reason := beyond(ids, model.reader.rows):
        raise DataError(f"the model cannot read this turn: {reason}")
    head = [model.prefix.id] if model.prefix.contexts and model.prefix.id is not None else []
    return ids if ids[:1] == head else head + ids


class Trimmed:
    """Shows a text in pieces without the white space around it."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._begun = False
        self._waiting = ""

    def __call__(self, piece: str) -> None:
        """Show a piece, but for white space that may be the last."""
        text = self._waiting + piece
        if not self._begun:
            text = text.lstrip()
        kept = text.rstrip()
        self._waiting = text[len(kept) :]
        if kept:
            self._begun = True
            self._show(kept)
