"""The rows of every kind of dataset. Small, frozen, and checked when they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import ClassVar, TypeVar

from tilbench.errors import DataError

__all__ = [
    "KINDS",
    "Conversation",
    "Document",
    "Item",
    "Labelled",
    "Pair",
    "Probe",
    "Prompt",
    "Question",
    "Reading",
    "Row",
    "kind_of",
    "parse_row",
    "row_of",
    "rows_fingerprint",
]


@dataclass(frozen=True, slots=True)
class Document:
    """A running text. `source` names where it came from (a genre, a site, a book)."""

    kind: ClassVar[str] = "documents"
    required: ClassVar[tuple[str, ...]] = ("text",)
    id: str
    text: str
    source: str = ""

    @property
    def cluster(self) -> str:
        """Documents are sampled one by one."""
        return self.id


@dataclass(frozen=True, slots=True)
class Question:
    """A multiple-choice question; `answer` is the index of the right choice.

    Questions whose ids agree before the first `#` share a passage and form one cluster.
    """

    kind: ClassVar[str] = "questions"
    required: ClassVar[tuple[str, ...]] = ("question", "choices", "answer")
    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    subject: str = ""
    passage: str = ""

    @property
    def cluster(self) -> str:
        """The passage where there is one, else the question itself."""
        return self.id.split("#", 1)[0] if self.passage else self.id


@dataclass(frozen=True, slots=True)
class Pair:
    """A text and its counterpart, such as a sentence and its translation."""

    kind: ClassVar[str] = "pairs"
    required: ClassVar[tuple[str, ...]] = ("source", "target")
    id: str
    source: str
    target: str

    @property
    def cluster(self) -> str:
        """Pairs are sampled one by one."""
        return self.id


@dataclass(frozen=True, slots=True)
class Conversation:
    """Chat turns: `(role, content)` with roles system, user and assistant."""

    kind: ClassVar[str] = "conversations"
    required: ClassVar[tuple[str, ...]] = ("messages",)
    id: str
    messages: tuple[tuple[str, str], ...]

    @property
    def cluster(self) -> str:
        """Conversations are sampled one by one."""
        return self.id


@dataclass(frozen=True, slots=True)
class Prompt:
    """The beginning of a text to be continued; `reference` is a wanted answer where there is one."""

    kind: ClassVar[str] = "prompts"
    required: ClassVar[tuple[str, ...]] = ("prompt",)
    id: str
    prompt: str
    reference: str = ""

    @property
    def cluster(self) -> str:
        """Prompts are sampled one by one."""
        return self.id


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt and the word expected next; neither ends or begins with a space."""

    kind: ClassVar[str] = "probes"
    required: ClassVar[tuple[str, ...]] = ("prompt", "target")
    id: str
    prompt: str
    target: str

    @property
    def cluster(self) -> str:
        """Probes are sampled one by one."""
        return self.id


@dataclass(frozen=True, slots=True)
class Reading:
    """A question on a text, with every answer that is accepted, in the words of the text."""

    kind: ClassVar[str] = "readings"
    required: ClassVar[tuple[str, ...]] = ("context", "question", "answers")
    id: str
    context: str
    question: str
    answers: tuple[str, ...]

    @property
    def cluster(self) -> str:
        """The text, by its digest: questions on one text are sampled together."""
        return f"context-{hashlib.sha256(self.context.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and the label of its class, such as a topic or a number of stars, as the dataset writes it."""

    kind: ClassVar[str] = "labelled"
    required: ClassVar[tuple[str, ...]] = ("text", "label")
    id: str
    text: str
    label: str

    @property
    def cluster(self) -> str:
        """Texts are sampled one by one."""
        return self.id


@dataclass(frozen=True, slots=True)
class Item:
    """A document of another harness, as JSON text: only the metric that brings it can read it. No file holds these."""

    kind: ClassVar[str] = "items"
    required: ClassVar[tuple[str, ...]] = ("content",)
    id: str
    content: str

    @property
    def cluster(self) -> str:
        """Another harness says nothing of what was sampled together."""
        return self.id


Row = Document | Question | Pair | Conversation | Prompt | Probe | Reading | Labelled | Item
R = TypeVar("R", bound=Row)
KINDS: dict[str, type[Row]] = {
    row.kind: row for row in (Document, Question, Pair, Conversation, Prompt, Probe, Reading, Labelled)
}


def rows_fingerprint(rows: Iterable[Row]) -> str:
    """Return the SHA-256 of the rows in order, as hex digits; it does not depend on the file they were read from."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(asdict(row), sort_keys=True, ensure_ascii=False).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def kind_of(columns: Mapping[str, object]) -> str:
    """Return the kind of rows whose required columns are all present.

    Raises DataError where none fits.
    """
    for kind in ("questions", "readings", "conversations", "probes", "pairs", "prompts", "labelled", "documents"):
        if all(column in columns for column in KINDS[kind].required):
            return kind
    needs = "; ".join(f"{kind}: {', '.join(row.required)}" for kind, row in KINDS.items())
    raise DataError(f"columns {', '.join(columns)} fit no kind of dataset ({needs}); name them with 'columns:'")


def row_of(row: Row, wanted: type[R], metric: str) -> R:
    """Return `row`, which `metric` scores only if it is a `wanted`. Raises DataError where it is of another kind."""
    if not isinstance(row, wanted):
        raise DataError(f"row {row.id!r}: {metric} scores {wanted.kind}, not {row.kind}")
    return row


def parse_row(kind: str, raw: Mapping[str, object], place: str) -> Row:
    """Make one row of `kind` from a mapping of columns; `place` names it in an error.

    A list in a text column is a list of words and is joined by spaces. Columns that the kind does not have are
    left out. Raises DataError for a missing, empty or ill-typed value.
    """
    row = KINDS[kind]
    missing = [column for column in ("id", *row.required) if raw.get(column) is None]
    if missing:
        raise DataError(f"{place}: no {' and no '.join(map(repr, missing))}; has {', '.join(raw)}")
    if row is Question:
        return _question(raw, place)
    if row is Conversation:
        return _conversation(raw, place)
    if row is Reading:
        return _reading(raw, place)
    known = {item.name for item in fields(row)}
    values = {name: _text(raw[name], name, place) for name in known if raw.get(name) is not None}
    for name in row.required:
        if not values[name].strip():
            raise DataError(f"{place}: {name!r} is empty; remove the row or fill it in")
    return row(**values)  # type: ignore[arg-type]


def _text(value: object, name: str, place: str) -> str:
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        value = " ".join(value)
    if isinstance(value, int | float) and name in ("id", "label"):
        value = str(value)
    if not isinstance(value, str):
        raise DataError(f"{place}: {name!r} is {type(value).__name__}, not text")
    if "\x00" in value:
        raise DataError(f"{place}: {name!r} holds a NUL character; the file is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{place}: {name!r} holds half a surrogate pair, which is no Unicode text") from None
    return value


_LETTERS = {letter: index for index, letter in enumerate("ABCDEFGHIJKL")} | {"А": 0, "Б": 1, "С": 2, "Д": 3}
"""Option letters, and the Cyrillic ones that stand for the first four in published Kazakh exams. В is left out: it is
the second by its looks and the third by its place."""


def _question(raw: Mapping[str, object], place: str) -> Question:
    choices = raw["choices"]
    if not isinstance(choices, list | tuple) or len(choices) < 2:
        raise DataError(f"{place}: 'choices' must be a list of at least two texts")
    texts = tuple(_text(choice, "choices", place) for choice in choices)
    if not all(text.strip() for text in texts):
        raise DataError(f"{place}: a choice is empty")
    answer = raw["answer"]
    if isinstance(answer, str) and (letter := answer.strip().upper()) in _LETTERS:
        answer = _LETTERS[letter]
    if isinstance(answer, str) and answer.isdecimal():
        answer = int(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(texts):
        raise DataError(
            f"{place}: no right answer: 'answer' is {raw['answer']!r}, and the choices are 0 to {len(texts) - 1}"
        )
    question = _text(raw["question"], "question", place)
    if not question.strip():
        raise DataError(f"{place}: 'question' is empty")
    optional = {name: _text(raw[name], name, place) for name in ("subject", "passage") if raw.get(name) is not None}
    return Question(_text(raw["id"], "id", place), question, texts, answer, **optional)


def _conversation(raw: Mapping[str, object], place: str) -> Conversation:
    messages = raw["messages"]
    if not isinstance(messages, list | tuple) or not messages:
        raise DataError(f"{place}: 'messages' must be a list of turns")
    turns: list[tuple[str, str]] = []
    for turn in messages:
        if not isinstance(turn, Mapping) or turn.get("role") not in ("system", "user", "assistant"):
            raise DataError(f"{place}: a turn needs 'role' (system, user or assistant) and 'content'")
        turns.append((turn["role"], _text(turn.get("content"), "content", place)))
    return Conversation(_text(raw["id"], "id", place), tuple(turns))


def _reading(raw: Mapping[str, object], place: str) -> Reading:
    """Make a reading; its answers are a list, or SQuAD's `{"text": [...], "answer_start": [...]}`."""
    answers = raw["answers"]
    if isinstance(answers, Mapping):
        answers = answers.get("text")
    if isinstance(answers, str):
        answers = [answers]
    if not isinstance(answers, list | tuple) or not answers:
        raise DataError(f"{place}: 'answers' must be a list of accepted texts; leave unanswerable questions out")
    texts = tuple(dict.fromkeys(_text(answer, "answers", place) for answer in answers))
    identity, context, question = (_text(raw[name], name, place) for name in ("id", "context", "question"))
    for name, text in (("context", context), ("question", question), *(("answers", text) for text in texts)):
        if not text.strip():
            raise DataError(f"{place}: {name!r} is empty; remove the row or fill it in")
    return Reading(identity, context, question, texts)
