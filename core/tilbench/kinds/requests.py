"""The six questions a model can be asked, and their answers. Metrics are written in these terms only.

Log-probabilities are natural logarithms. Texts are as the user sees them: which tokens they become is the
model's own business.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from tilbench.config.decoding import Decoding
from tilbench.errors import PluginError

__all__ = [
    "Answer",
    "Continuation",
    "Document",
    "Exchange",
    "Generated",
    "Generation",
    "Likelihood",
    "NextWord",
    "Ranked",
    "Request",
    "RequestKind",
    "Spans",
    "Timed",
    "Timing",
    "TokenIds",
    "Tokens",
    "Unanswered",
    "answer_from_json",
    "answer_to_json",
    "one_answer",
    "request_key",
    "split_text",
]

_CUT_CHARACTER = re.compile("\N{REPLACEMENT CHARACTER}{1,3}\\Z")


class RequestKind(StrEnum):
    """The six questions."""

    CONTINUATION = "continuation"
    DOCUMENT = "document"
    GENERATION = "generation"
    NEXT_WORD = "next_word"
    TIMING = "timing"
    TOKENS = "tokens"

    @property
    def lasting(self) -> bool:
        """Whether an answer holds for another run: the model and the request alone decide it, and not the machine."""
        return self is not RequestKind.TIMING


Spans = tuple[tuple[int, int], ...]
"""Begin and end of stretches of a text, in characters."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A conversation up to and with one of its answers, as turns `(role, content)`.

    template: name of the chat template (`tilbench.text.chat`). end: the end of the last answer is meant, which follows
    the answer; otherwise the answer itself.
    """

    template: str
    turns: tuple[tuple[str, str], ...]
    end: bool = False


@dataclass(frozen=True, slots=True)
class Continuation:
    """How likely is `continuation` after `context`? Answered by `Likelihood`.

    A context that does not fit loses its `optional` spans first, then text after `keep`
    (`tilbench.scoring.encode.reader`).
    A continuation that is longer than the model is scored in windows, as a `Document` is.

    optional: spans of characters of the context that may be left out whole, in the order in which they are: the
    few-shot examples, oldest first. keep: characters at its beginning that are kept where text is left out: the
    instruction. beside: the continuations that this one is compared with; the same context is shown before all of them.

    exchange: the conversation that both are the text of, if they are. A model with tokens then reads the ids that
    fine-tuning reads (`tilbench.scoring.encode.chat.exchange_ids`), in which a template's marks are special tokens.
    The end of an answer is no text, and its continuation is empty.
    """

    kind: ClassVar[RequestKind] = RequestKind.CONTINUATION
    context: str
    continuation: str
    optional: Spans = ()
    keep: int = 0
    beside: tuple[str, ...] = ()
    exchange: Exchange | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """How likely is the whole of `text`, after the model's prefix token? Answered by `Likelihood`.

    The text is scored in windows of at most `window` tokens (None: the model's own length); from the second
    window on at least `overlap` tokens of the text before it are given as context. `overlap = 1` is
    the scheme of lm-evaluation-harness's rolling log-likelihood. prefix_each_window: the prefix token stands before
    every window, and takes one of its places; otherwise before the first one only.
    """

    kind: ClassVar[RequestKind] = RequestKind.DOCUMENT
    text: str
    window: int | None = None
    overlap: int = 1
    prefix_each_window: bool = False


_GREEDY = Decoding()


@dataclass(frozen=True, slots=True)
class Generation:
    """What text follows `prompt`? It ends before the first of `stop`. Answered by `Generated`.

    The prompt goes before the answer: where both do not fit, fewer new tokens are allowed, down to a quarter of the
    model's length; then the prompt loses its `optional` spans, then text after `keep`, as in `Continuation`.
    """

    kind: ClassVar[RequestKind] = RequestKind.GENERATION
    prompt: str
    decoding: Decoding = _GREEDY
    stop: tuple[str, ...] = ()
    seed: int = 0
    optional: Spans = ()
    keep: int = 0


@dataclass(frozen=True, slots=True)
class NextWord:
    """Where does `target` stand among all the tokens that can follow `context`? Answered by `Ranked`."""

    kind: ClassVar[RequestKind] = RequestKind.NEXT_WORD
    context: str
    target: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """Which tokens does `text` become, with no special tokens added? Answered by `TokenIds`."""

    kind: ClassVar[RequestKind] = RequestKind.TOKENS
    text: str


@dataclass(frozen=True, slots=True)
class Timing:
    """How long does it take to generate? Answered by `Timed`, measured when it is asked.

    `batch` rows have a prompt of `prompt_tokens` tokens each, the text over and over, and are given `new_tokens` more,
    each the likeliest; nothing ends them before. It is done once, and then measured `repeats` times.
    """

    kind: ClassVar[RequestKind] = RequestKind.TIMING
    text: str
    prompt_tokens: int
    new_tokens: int
    batch: int = 1
    repeats: int = 3


Request = Continuation | Document | Generation | NextWord | Timing | Tokens


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Natural log-probability of a text in `tokens` tokens (None: the model has no tokens).

    greedy: every token was the likeliest one at its place (None: not known).
    lost: UTF-8 bytes of the scored text that the token ids do not reproduce. lost_context: those of the context.
    dropped: few-shot examples that were left out whole because the context did not fit. cut: tokens of it that were
    left out besides. windows: passes over parts of the text, where it is longer than the model or the window.
    """

    logprob: float
    tokens: int | None
    greedy: bool | None = None
    lost: int = 0
    lost_context: int = 0
    cut: int = 0
    dropped: int = 0
    windows: int = 1


@dataclass(frozen=True, slots=True)
class Generated:
    """A generated text without its stop; `complete`: a stop or the end-of-text token ended it.

    lost_context, cut, dropped: what of the prompt the model did not read, as in `Likelihood`. lost is always 0.
    short: by how many tokens the text ended before `max_new_tokens`, because the prompt left no more room; 0 where it
    ended by itself.
    """

    text: str
    tokens: int
    complete: bool
    lost: int = 0
    lost_context: int = 0
    cut: int = 0
    dropped: int = 0
    short: int = 0

    @property
    def whole(self) -> str:
        """`text` without the part of a character that the token limit left at its end.

        A token may be one byte of a letter. A text that the limit cuts inside a letter therefore ends in U+FFFD, at
        most one for each of the three bytes that are there. The limit made them, not the model.
        """
        return self.text if self.complete else _CUT_CHARACTER.sub("", self.text)


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rank (1 is the likeliest) of the target's first token, and log-probability of all its `tokens`.

    tied: how many other tokens are exactly as likely as the target's first; it shares the places `rank` … `rank + tied`
    with them. lost, lost_context, cut, dropped: as in `Likelihood`.
    """

    rank: int
    logprob: float
    tokens: int
    lost: int = 0
    lost_context: int = 0
    cut: int = 0
    dropped: int = 0
    tied: int = 0


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Token ids of a text; how many of them are unknown or single fallback bytes; whether they decode to it."""

    ids: tuple[int, ...]
    unknown: int = 0
    byte_fallback: int = 0
    round_trip: bool = True


@dataclass(frozen=True, slots=True)
class Timed:
    """What generating took, of every repeat; nothing where the model or the memory is too small for it.

    first: seconds to the first new token of all rows. rest: seconds from there to the last. text_tokens: tokens that
    the text of the request is. cache_bytes: size of the cache, which had room for prompt and new tokens of all rows.
    peak_memory_bytes: the most that was allocated on the device (CPU: the largest size of the process so far).
    """

    first: tuple[float, ...] = ()
    rest: tuple[float, ...] = ()
    text_tokens: int = 0
    cache_bytes: int = 0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Unanswered:
    """This model cannot answer this request, and `reason` says why in one line; it can answer others of the kind.

    A row with such an answer is left out of the metric and counted, so no metric ever gets one. too_long: the reason is
    that what must be shown of the request does not fit the model.
    """

    reason: str
    too_long: bool = False


Answer = Likelihood | Generated | Ranked | Timed | TokenIds | Unanswered
A = TypeVar("A", bound=Answer)

_ANSWERS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Likelihood, Generated, Ranked, Timed, TokenIds, Unanswered)
}


def split_text(request: Request) -> tuple[str, str]:
    """Return the context of a request and the text whose likelihood it asks for; either may be empty.

    White space at the end of a context goes to the text after it, as in lm-evaluation-harness: most tokenizers have it
    in the first token of the next word.
    """
    match request:
        case Document(text=text):
            return "", text
        case Continuation(context, text):
            pass
        case NextWord(context, target):
            text = f" {target}"
        case Generation(prompt=prompt):
            return prompt, ""
        case _:
            return "", ""
    stripped = context.rstrip()
    return stripped, context[len(stripped) :] + text


def request_key(request: Request) -> str:
    """Return a digest that two requests share only if they ask the same."""
    content = json.dumps([request.kind, asdict(request)], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def one_answer(row: str, answers: Sequence[Answer], wanted: type[A]) -> A:
    """Return the only answer about a row, of the kind `wanted`. Raises PluginError where a model gave another."""
    if len(answers) != 1 or not isinstance(answers[0], wanted):
        got = ", ".join(type(each).__name__ for each in answers) or "nothing"
        raise PluginError(f"row {row!r} was not answered by one {wanted.__name__}, but by {got}")
    return answers[0]


def answer_to_json(answer: Answer) -> str:
    """Write an answer as JSON text; `answer_from_json` reads it back exactly."""
    return json.dumps([type(answer).__name__, asdict(answer)], ensure_ascii=False)


def answer_from_json(text: str) -> Answer:
    """Read an answer written by `answer_to_json`."""
    name, values = json.loads(text)
    values = {field: tuple(value) if isinstance(value, list) else value for field, value in values.items()}
    answer: Answer = _ANSWERS[name](**values)
    return answer
