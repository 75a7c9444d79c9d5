"""Toy parts that need no torch: rows of every kind, a language, a tokenizer, a language model, a metric."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel

from tilbench.config.base import Schema
from tilbench.data.rows import Conversation, Document, Labelled, Pair, Probe, Prompt, Question, Reading, Row
from tilbench.errors import CheckpointError, ConfigError, Unsupported
from tilbench.kinds.language import Cues, Language
from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import (
    Answer,
    Continuation,
    Generated,
    Generation,
    Likelihood,
    NextWord,
    Ranked,
    Request,
    RequestKind,
    Timed,
    Timing,
    TokenIds,
    Tokens,
    request_key,
)
from tilbench.kinds.requests import Document as DocumentRequest
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.results.statistics import mean_interval

__all__ = [
    "ToyLanguageModel",
    "ToyLoader",
    "ToyMetric",
    "ToyTokenizer",
    "ToyTokenizerFamily",
    "toy_language",
    "toy_rows",
    "toy_texts",
]

_WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def toy_language() -> Language:
    """Return a language of nobody's (`qaa` is reserved for private use), in Latin letters."""
    cues = Cues(passage="Text", question="Question", options="Options", answer="Answer")
    letters = "abcdefghijklmnopqrstuvwxyz"
    return Language(tag="qaa-Latn", name="Toy", native_name="Toy", script="Latn", alphabet=letters, cues=cues)


def toy_texts(count: int = 12) -> list[str]:
    """Return different texts of different lengths, with several scripts among them."""
    extra = ["Қазақ тілі", "Türkçe ığdır", "perché è così", "«3,14» – €5", "e\u0301 \u200d 👩‍🚀"]
    return [
        f"{' '.join(_WORDS[index % 5 : index % 12 + 3])}. {extra[index % len(extra)]}! {index * 7}"
        for index in range(count)
    ]


def toy_rows(kind: str, count: int = 12) -> list[Row]:
    """Return rows of one kind (see `tilbench.data.rows.KINDS`), no two of them alike."""
    texts = toy_texts(count)
    return [_row(kind, index, text) for index, text in enumerate(texts)]


def _row(kind: str, index: int, text: str) -> Row:
    word, following = _WORDS[index % 12], _WORDS[(index + 1) % 12]
    name = f"toy-{index:02d}"
    match kind:
        case "documents":
            return Document(name, text, source=("even", "odd")[index % 2])
        case "questions":
            choices = tuple(str(index + each) for each in range(2 + index % 3 + 1))
            # some share a passage, so that clusters matter
            passage = f"Passage {index // 2}: {text}" if index % 4 < 2 else ""
            identity = f"passage-{index // 2}#{index}" if passage else name
            return Question(identity, f"{index} + 1 = ?", choices, 1 + index % (len(choices) - 1), "sums", passage)
        case "pairs":
            return Pair(name, text, f"{word} {text}")
        case "conversations":
            return Conversation(name, (("user", text), ("assistant", f"{word} {following}")))
        case "prompts":
            return Prompt(name, text, reference=f"{word} {following}" if index % 2 else "")
        case "probes":
            return Probe(name, f"{text} {word}", following)
        case "readings":
            # two questions a context, so that clusters matter
            return Reading(name, f"Text {index // 2}: {word} {following}", f"{index}?", (word, f"{word} {following}"))
        case "labelled":
            return Labelled(name, text, ("even", "odd")[index % 2])
        case _:
            raise ValueError(f"no rows of kind {kind!r}")


class ToyTokenizer:
    """UTF-8 bytes, shifted to make room for the special tokens 0, 1 and 2."""

    family = "toy"
    size = 259

    def __init__(self, special: SpecialTokens | None = None) -> None:
        self.special = special or SpecialTokens(bos=0, eos=1, pad=2)
        self.fingerprint = f"toy:{self.special}"

    def encode(self, text: str) -> list[int]:
        """Return the bytes, shifted by 3."""
        return [byte + 3 for byte in text.encode()]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text; specials are left out."""
        return bytes(each - 3 for each in ids if each > 2).decode("utf-8", "replace")

    def unknown(self, ids: Sequence[int]) -> int:
        """Return 0: a byte is never unknown."""
        return 0

    def byte_fallback(self, ids: Sequence[int]) -> int:
        """Count bytes of characters beyond ASCII."""
        return sum(each >= 0x80 + 3 for each in ids)

    def save(self, folder: Path) -> None:
        """Write the special tokens: there is nothing else to it."""
        ids = {name: getattr(self.special, name) for name in ("bos", "eos", "pad", "unk")}
        (folder / "toy.json").write_text(json.dumps(ids), encoding="utf-8")


class ToyOptions(Schema):
    """Options of the toy family."""

    vocab_size: int = 259
    bos: str = "<s>"
    eos: str = "</s>"


class ToyTokenizerFamily:
    """Trains, which takes no time, and loads toy tokenizers; `made` is the class it makes."""

    trainable: ClassVar[bool] = True
    Options: ClassVar[type[BaseModel]] = ToyOptions
    made: ClassVar[type[ToyTokenizer]] = ToyTokenizer

    def recognises(self, reference: str) -> bool:
        """Recognise a folder that one was saved in."""
        return (Path(reference) / "toy.json").is_file()

    def load(self, reference: str) -> ToyTokenizer:
        """Load a saved folder."""
        if not self.recognises(reference):
            raise CheckpointError(f"{reference} holds no toy tokenizer")
        saved = json.loads((Path(reference) / "toy.json").read_text(encoding="utf-8"))
        return self.made(SpecialTokens(**saved))

    def train(self, texts: Iterable[str], options: Mapping[str, object]) -> ToyTokenizer:
        """Return the toy tokenizer, whatever the texts."""
        if unknown := set(options) - set(ToyOptions.model_fields):
            raise ConfigError(f"tokenizer option {unknown.pop()!r}: there is no such option")
        return self.made()


class ToyLanguageModel:
    """Answers every kind of request by a digest of it: the same answer always, and nothing learned."""

    def __init__(self, card: ModelCard | None = None) -> None:
        supports = frozenset(RequestKind)
        self.card = card or ModelCard(name="toy", fingerprint="toy:1", supports=supports, max_length=1024)

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer in batches of at most five."""
        for start in range(0, len(requests), 5):
            yield [(request, self.one(request)) for request in requests[start : start + 5]]

    def one(self, request: Request) -> Answer:
        """Answer one request. Raises Unsupported for a kind that the card does not name."""
        if request.kind not in self.card.supports:
            raise Unsupported(f"{self.card.name} answers no {request.kind} requests")
        chance = int(hashlib.sha256(request_key(request).encode()).hexdigest()[:8], 16) / 2**32  # 0 … 1
        match request:
            case Continuation(continuation=text) | DocumentRequest(text=text):
                size = len(text.encode())
                return Likelihood(-size * (1 + chance) * math.log(2), size, greedy=chance > 0.5)
            case NextWord(target=target):
                return Ranked(1 + int(chance * 100), -math.log(2) * (1 + 8 * chance), len(target.encode()))
            case Generation():
                words = [_WORDS[int(chance * 10**place) % 12] for place in range(6)]
                return Generated(" ".join(words), len(words), complete=chance > 0.5)
            case Timing(text=text, repeats=repeats):
                seconds = tuple((1 + chance) / (1 + place) for place in range(repeats))
                return Timed(seconds, seconds, len(text.encode()), 1024, 4096)
            case Tokens(text=text):
                return TokenIds(tuple(text.encode()), byte_fallback=sum(byte > 127 for byte in text.encode()))


class ToyLoader:
    """Opens `toy`; `made` is the class it opens."""

    made: ClassVar[type[ToyLanguageModel]] = ToyLanguageModel

    def recognises(self, reference: str) -> bool:
        """Recognise its name."""
        return reference == "toy"

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Describe the model."""
        return self.made().card

    def open(self, reference: str, options: OpenOptions) -> ToyLanguageModel:
        """Open the model."""
        return self.made()


class ToySettings(Schema):
    """Settings of the toy metric."""

    scale: float = 1.0


class ToyMetric:
    """Mean bits per byte over documents (not the corpus ratio, which is `bpb`)."""

    rows: ClassVar[frozenset[str]] = frozenset({"documents"})
    headline = "bits"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[BaseModel]] = ToySettings

    def __init__(self, settings: ToySettings, context: TaskContext) -> None:
        self.scale = settings.scale

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for the whole document."""
        assert isinstance(row, Document)
        return [DocumentRequest(row.text)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Return the bits of a byte."""
        (answer,) = answers
        assert isinstance(row, Document)
        assert isinstance(answer, Likelihood)
        bits = -self.scale * answer.logprob / math.log(2) / len(row.text.encode())
        return ItemScore(row.id, row.cluster, {"bits": bits})

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return the mean with its interval."""
        if not scores:
            return {}
        bits = [score.values["bits"] for score in scores]
        found = mean_interval(bits, [score.cluster for score in scores])
        low, high, stderr = (found.low, found.high, found.stderr) if found else (None, None, None)
        mean = math.fsum(bits) / len(bits)
        return {
            "bits": Value(
                value=mean, n=len(bits), unit="bits/byte", direction="lower", stderr=stderr, low=low, high=high
            )
        }
