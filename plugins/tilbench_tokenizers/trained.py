"""Families that are trained here: byte-level BPE, unigram, WordPiece and Til.

Training is deterministic: the same texts and options give the same tokenizer, in any process.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from tilbench.errors import ConfigError, Unsupported
from tilbench.kinds.tokenizer import Tokenizer
from tilbench_tokenizers.base import checked, saved_marker, verified
from tilbench_tokenizers.fast import ROLES, FastTokenizer, byte_alphabet, read_content
from tilbench_tokenizers.splitting import PATTERNS, byte_level, checked_pattern
from tilbench_tokenizers.spool import twice
from tilbench_tokenizers.unigram import train_pieces

__all__ = ["ByteLevelBPE", "Til", "TrainingOptions", "Unigram", "WordPiece"]

MORPHEME_MARK = "\x1f"
"""Put between morphemes by whoever prepares a text for Til; the tokenizer splits there and drops it."""


class TrainingOptions(BaseModel):
    """Options that every family has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocab_size: int = Field(default=32_000, gt=0, description="entries at most, special tokens included")
    min_frequency: int = Field(default=2, ge=1, description="how often a pair must occur to be merged")
    pad: str = Field(default="<pad>", min_length=1)
    bos: str = Field(default="<s>", min_length=1)
    eos: str = Field(default="</s>", min_length=1)
    special_tokens: tuple[str, ...] = Field(default=(), description="further special tokens, after the others")

    def layout(self) -> list[str]:
        """Return the special tokens in the order of their ids, from 0."""
        return [self.pad, self.bos, self.eos, *self.special_tokens]


class ByteLevelOptions(TrainingOptions):
    """Options of byte-level BPE, and the start of unigram's and Til's."""

    pattern: Annotated[str, AfterValidator(checked_pattern)] = Field(
        default="gpt2", min_length=1, description="how texts are split: gpt2, words, or a regular expression"
    )


class UnigramOptions(ByteLevelOptions):
    """Options of the unigram model."""

    min_frequency: int = Field(default=1, ge=1, description="how often a pre-token must occur to be trained on")


class WordPieceOptions(TrainingOptions):
    """Options of WordPiece."""

    pad: str = Field(default="[PAD]", min_length=1)
    unk: str = Field(default="[UNK]", min_length=1)
    bos: str = Field(default="[BOS]", min_length=1)
    eos: str = Field(default="[EOS]", min_length=1)
    alphabet: int = Field(default=1000, gt=0, description="characters kept, the commonest; others become unknown")
    prefix: str = Field(default="##", min_length=1, description="what marks a piece that continues a word")

    def layout(self) -> list[str]:
        """Return the special tokens in the order of their ids, from 0."""
        return [self.pad, self.unk, self.bos, self.eos, *self.special_tokens]


class TilOptions(ByteLevelOptions):
    """Options of Til: the published layout at full size, the same ids with fewer reserved slots below it."""

    vocab_size: int = Field(default=131_072, gt=0)
    reserved: int | None = Field(
        default=None, ge=0, description="reserved slots; unset: 384, scaled by vocab_size / 131,072"
    )

    def layout(self) -> list[str]:
        """Return the special tokens in the order of their ids, from 0.

        Ids 0, 1, 2, 6 and 7 are Til-mini-1B's. Its card names tool-call, fill-in-the-middle and reasoning
        tokens without their spelling or ids: those below are spellings in common use. Ids 3–5 have no name.
        """
        slots = self.reserved
        if slots is None:
            slots = min(384, 384 * self.vocab_size // 131_072)
        return [
            *(self.pad, self.bos, self.eos),
            *("<|slot_3|>", "<|slot_4|>", "<|slot_5|>", "<|im_start|>", "<|im_end|>"),
            *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
            *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<think>", "</think>"),
            *self.special_tokens,
            *(f"<|reserved_{i}|>" for i in range(slots)),
        ]


class TrainedFamily(ABC):
    """Trains with the pieces its subclass gives, and loads what it saved."""

    trainable: ClassVar[bool] = True
    Options: ClassVar[type[TrainingOptions]] = TrainingOptions
    name: ClassVar[str]
    smaller: ClassVar[str] = ""
    """What else helps where vocab_size is too small."""

    @abstractmethod
    def pre_tokenizer(self, options: Any) -> pre_tokenizers.PreTokenizer:
        """Return what splits a text into the stretches that tokens do not cross."""

    @abstractmethod
    def fit(self, texts: Iterable[str], options: Any) -> RustTokenizer:
        """Train on texts of which at least one is not empty."""

    def recognises(self, reference: str) -> bool:
        """Recognise a folder that a tokenizer of this family was saved in."""
        return saved_marker(reference).get("family") == self.name

    def load(self, reference: str) -> Tokenizer:
        """Load a saved folder. Raises CheckpointError where it holds no tokenizer, or a changed one."""
        from tilbench_tokenizers.huggingface import role_names

        folder = Path(reference)
        return verified(FastTokenizer(self.name, read_content(folder), role_names(folder)), reference)

    def train(self, texts: Iterable[str], options: Mapping[str, object]) -> Tokenizer:
        """Train on `texts`, read once. Raises ConfigError for bad options, Unsupported without text."""
        settings = checked(self.Options, options)
        self._check_names(settings)
        seen = _Seen(texts)
        tokenizer = self.fit(seen, settings)
        if not seen.characters:
            raise Unsupported(f"there is no text to train the {self.name!r} tokenizer on; give it documents")
        content = json.loads(tokenizer.to_str())
        special = settings.layout()
        content["added_tokens"] = [_added(i, name) for i, name in enumerate(special)]
        names = {role: getattr(settings, role, None) for role in ROLES}
        return FastTokenizer(self.name, content, names)

    def _check_names(self, options: TrainingOptions) -> None:
        splitter = self.pre_tokenizer(options)
        for name, count in Counter(options.layout()).items():
            if count > 1:
                raise ConfigError(f"special token {name!r} is named {count} times; give each its own spelling")
            if len(splitter.pre_tokenize_str(name)) < 2:
                # a text could then spell it in one piece, and the model would return the special id
                pattern = getattr(options, "pattern", "")
                raise ConfigError(
                    f"special token {name!r} could be an ordinary word; write it like '<{name}>'"
                    + ("" if pattern in ("", *PATTERNS) else f", or split letters from signs in pattern {pattern!r}")
                )

    def _room(self, options: TrainingOptions, alphabet: int) -> int:
        """Return the entries left for learned pieces; raise ConfigError where not even the alphabet fits."""
        special = len(options.layout())
        if options.vocab_size < alphabet + special:
            raise ConfigError(
                f"vocab_size {options.vocab_size} is too small: an alphabet of {alphabet} and {special} "
                f"special tokens need {alphabet + special}; raise it" + self.smaller
            )
        return options.vocab_size - alphabet - special


class ByteLevelBPE(TrainedFamily):
    """Byte-level BPE with all 256 bytes in its alphabet (GPT-2's scheme): any text round-trips."""

    name: ClassVar[str] = "bpe"
    Options: ClassVar[type[TrainingOptions]] = ByteLevelOptions

    def pre_tokenizer(self, options: ByteLevelOptions) -> pre_tokenizers.PreTokenizer:
        """Split by the options' pattern."""
        return byte_level(options.pattern)

    def fit(self, texts: Iterable[str], options: Any) -> RustTokenizer:
        """Learn merges from pair counts."""
        self._room(options, 0x100)
        tokenizer = RustTokenizer(models.BPE())
        tokenizer.pre_tokenizer = self.pre_tokenizer(options)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=options.vocab_size,
            min_frequency=options.min_frequency,
            special_tokens=options.layout(),
            initial_alphabet=sorted(byte_alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer


class Til(ByteLevelBPE):
    """Til-Tokenizer: byte-level BPE over morphemes (where marked) and single digits, in Til-mini's layout.

    Lossless but for the morpheme mark U+001F, which is an instruction to the tokenizer and is dropped.
    """

    name: ClassVar[str] = "til"
    drops: ClassVar[str] = "\x1f"
    Options: ClassVar[type[TrainingOptions]] = TilOptions
    smaller: ClassVar[str] = ", or lower 'reserved'"

    def pre_tokenizer(self, options: Any) -> pre_tokenizers.PreTokenizer:
        """Split at the morpheme mark, then every digit alone, then by the options' pattern."""
        steps = [
            pre_tokenizers.Split(MORPHEME_MARK, behavior="removed"),
            pre_tokenizers.Digits(individual_digits=True),
            byte_level(options.pattern),
        ]
        return pre_tokenizers.Sequence(steps)


class Unigram(TrainedFamily):
    """Unigram language model (Kudo 2018) over byte-level characters: any text round-trips."""

    name: ClassVar[str] = "unigram"
    Options: ClassVar[type[TrainingOptions]] = UnigramOptions

    def pre_tokenizer(self, options: ByteLevelOptions) -> pre_tokenizers.PreTokenizer:
        """Split by the options' pattern."""
        return byte_level(options.pattern)

    def fit(self, texts: Iterable[str], options: Any) -> RustTokenizer:
        """Learn pieces by expectation maximisation and pruning."""
        room = self._room(options, 0x100)
        splitter = self.pre_tokenizer(options)
        counts = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
        kept = {word: count for word, count in counts.items() if count >= options.min_frequency}
        special = [(name, 0.0) for name in options.layout()]
        tokenizer = RustTokenizer(models.Unigram([*special, *train_pieces(kept, room)]))
        tokenizer.pre_tokenizer = splitter
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer


class WordPiece(TrainedFamily):
    """WordPiece as in BERT, cased, not normalised: white space is lost, rare characters are unknown."""

    name: ClassVar[str] = "wordpiece"
    lossless: ClassVar[bool] = False
    Options: ClassVar[type[TrainingOptions]] = WordPieceOptions
    smaller: ClassVar[str] = ", or lower 'alphabet'"

    def pre_tokenizer(self, options: Any) -> pre_tokenizers.PreTokenizer:
        """Split at white space and around punctuation."""
        return pre_tokenizers.BertPreTokenizer()

    def fit(self, texts: Iterable[str], options: WordPieceOptions) -> RustTokenizer:
        """Learn merges from pair counts, over characters and continuing characters."""
        tokenizer = RustTokenizer(models.WordPiece(unk_token=options.unk, continuing_subword_prefix=options.prefix))
        tokenizer.pre_tokenizer = self.pre_tokenizer(options)
        tokenizer.decoder = decoders.WordPiece(prefix=options.prefix, cleanup=False)
        with twice(texts) as spooled:
            counts = Counter[str]()
            for text in spooled:
                counts.update(text)
            alphabet = _commonest(counts, options.alphabet, tokenizer.pre_tokenizer)
            # The Rust trainer would number continuing characters in the order of a hash table that differs
            # from process to process, and break ties by number: as special tokens, they are numbered by us.
            continuing = [options.prefix + c for c in alphabet if _continues(c, tokenizer.pre_tokenizer)]
            self._room(options, len(alphabet) + len(continuing))
            trainer = trainers.WordPieceTrainer(
                vocab_size=options.vocab_size,
                min_frequency=options.min_frequency,
                special_tokens=[*options.layout(), *alphabet, *continuing],
                initial_alphabet=alphabet,
                limit_alphabet=len(alphabet),
                continuing_subword_prefix=options.prefix,
                show_progress=False,
            )
            tokenizer.train_from_iterator(spooled, trainer)
        return tokenizer


class _Seen(Iterable[str]):
    """Passes texts on and counts their characters, so that training on nothing can be told."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.characters = 0
        self._texts = texts

    def __iter__(self) -> Any:
        for text in self._texts:
            self.characters += len(text)
            yield text


def _added(number: int, name: str) -> dict[str, object]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": name, **flags}


def _commonest(counts: Counter[str], limit: int, splitter: Any) -> list[str]:
    """Return the commonest characters that survive splitting, ties by code point, sorted."""
    ranked = sorted(counts, key=lambda c: (-counts[c], c))
    return sorted([c for c in ranked if splitter.pre_tokenize_str(c)][:limit])


def _continues(character: str, splitter: Any) -> bool:
    """Say whether `character` can follow a letter inside one pre-token."""
    return len(splitter.pre_tokenize_str("a" + character)) == 1
