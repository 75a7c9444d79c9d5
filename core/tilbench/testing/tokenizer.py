"""What every tokenizer, and the family it comes from, must do."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import regex

from tilbench.errors import ConfigError, TilbenchError
from tilbench.kinds.capabilities.tokenizer import DropsCharacters, LosesText
from tilbench.kinds.tokenizer import Tokenizer, TokenizerFamily
from tilbench.testing.base import Conformance, NotApplicable, require
from tilbench.testing.toys import toy_texts

__all__ = ["TokenizerConformance"]

_ROLES = ("bos", "eos", "pad", "unk")
_SPELLED = (
    *("<s>", "</s>", "<pad>", "<unk>", "<bos>", "<eos>", "[PAD]", "[UNK]", "[CLS]", "[BOS]", "[EOS]"),
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<0x41>", "[INST]", "<start_of_turn>"),
)
"""How special tokens are commonly spelled."""


class TokenizerConformance(Conformance):
    """Checks of a tokenizer family, by a tokenizer that it trains on toy texts or loads.

    subject: the family. reference: what it loads; where there is none and it can, it trains with `options`.
    lossless: it claims that a text with no unknown tokens comes back as it was. drops: characters that it is
    documented to drop all the same. Both are by default what the family has under these names.
    """

    settable: ClassVar[tuple[str, ...]] = ("reference", "options", "lossless", "drops")
    subject: TokenizerFamily
    reference: str = ""
    options: Mapping[str, Any] = {"vocab_size": 400}
    lossless: bool | None = None
    drops: str | None = None
    _tokenizer: Tokenizer | None = None

    def ready(self) -> None:
        """Raise ConfigError where there is nothing to load."""
        if not self.reference and not self.subject.trainable:
            raise ConfigError("this family only loads tokenizers: name one with --set reference=…")

    def make(self) -> Tokenizer:
        """Train or load a tokenizer. Raises ConfigError where there is nothing to load."""
        self.ready()
        if self.reference:
            return self.subject.load(self.reference)
        return self.subject.train(toy_texts(40), self.options)

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer under test, made at the first call."""
        if self._tokenizer is None:
            self._tokenizer = self.make()
        return self._tokenizer

    def texts(self) -> list[str]:
        """Return texts of every byte, every script's oddities, and of special tokens spelled out."""
        dropped = self.drops if self.drops is not None else self._stated_drops()
        # U+0000 is refused when rows are read
        alphabet = "".join(map(chr, range(1, 0x180))) + "".join(map(chr, range(0x400, 0x530)))
        odd = ["", " ", "\n", "  two  spaces ", "\ttab\r\nline", "a" * 300, "1234567890", *_SPELLED, "\ufeffmark"]
        odd += ["\U0010ffff\U0001f600\u0301", "e\u0301 é", "\u2028\u3000\u00a0"]
        odd += ["اَلْعَرَبِيَّةُ", "हिन्दी", "漢字かな", "한국어"]
        everything = [*toy_texts(), alphabet, *odd]
        return ["".join(sign for sign in text if sign not in dropped) for text in everything]

    def test_interface(self) -> None:
        """The tokenizer has every member, and its special tokens are ids of its own."""
        tokenizer = self.tokenizer()
        require(isinstance(tokenizer, Tokenizer), "it lacks a member of tilbench.kinds.tokenizer.Tokenizer")
        require(tokenizer.fingerprint, "its fingerprint is empty")
        for role in _ROLES:
            token = getattr(tokenizer.special, role)
            fits = token is None or 0 <= token < tokenizer.size
            require(fits, f"its {role} token is {token}, and its ids end at {tokenizer.size - 1}")

    def test_declared_special_tokens_are_there(self) -> None:
        """A special token that the training options name has an id."""
        tokenizer = self.tokenizer()
        if self.reference or not self.subject.trainable:
            raise NotApplicable("it was loaded, so no options name its special tokens")
        declared = self.subject.Options.model_validate(dict(self.options))
        for role in _ROLES:
            lost = getattr(declared, role, None) is not None and getattr(tokenizer.special, role) is None
            require(not lost, f"its options name the {role} token {getattr(declared, role, None)!r}, and it has none")

    def test_ids_are_within_size(self) -> None:
        """Every id is at least 0 and below `size`."""
        tokenizer = self.tokenizer()
        for text in self.texts():
            out = [each for each in tokenizer.encode(text) if not 0 <= each < tokenizer.size]
            require(not out, f"{_shown(text)} has the id {out[:1]}, and size is {tokenizer.size}")

    def test_lossless(self) -> None:
        """A text without unknown tokens decodes to itself, character by character."""
        tokenizer = self.tokenizer()
        stated = self.subject.lossless if isinstance(self.subject, LosesText) else True
        if not (stated if self.lossless is None else self.lossless):
            raise NotApplicable("it does not claim to be lossless")
        for text in self.texts():
            ids = tokenizer.encode(text)
            if not tokenizer.unknown(ids):
                found = tokenizer.decode(ids)
                at = next((n for n, (a, b) in enumerate(zip(text, found, strict=False)) if a != b), len(found))
                near = slice(max(0, at - 5), at + 10)
                reason = f"{text[near]!r} comes back as {found[near]!r}, and no token is counted as unknown"
                require(found == text, reason)

    def test_batch_equals_single(self) -> None:
        """A text has the same ids alone, in a batch, in another order and a second time."""
        tokenizer, texts = self.tokenizer(), self.texts()
        single = [list(tokenizer.encode(text)) for text in texts]
        for what, found in (
            ("in a batch", tokenizer.encode_batch(texts)),
            ("in a batch in reverse", list(reversed(tokenizer.encode_batch(texts[::-1])))),
            ("a second time", [tokenizer.encode(text) for text in texts]),
        ):
            for text, wanted, ids in zip(texts, single, found, strict=True):
                require(list(ids) == wanted, f"{_shown(text)} has other ids {what}")

    def test_nothing_is_added(self) -> None:
        """`encode` adds no special token, and no text at all has no ids."""
        tokenizer = self.tokenizer()
        require(not tokenizer.encode(""), "the empty text has ids")
        hidden = _special_ids(tokenizer)
        for text in toy_texts():
            found = hidden & set(tokenizer.encode(text))
            require(not found, f"{_shown(text)} gets the special id {min(found, default=0)}")

    def test_special_strings_are_text(self) -> None:
        """A special token that is spelled out in a text is encoded as the characters it is."""
        tokenizer = self.tokenizer()
        hidden = _special_ids(tokenizer)
        options = self.subject.Options.model_validate(dict(self.options)) if self.subject.trainable else None
        named = [value for name in _ROLES if isinstance(value := getattr(options, name, None), str)]
        for spelled in (*_SPELLED, *named):
            for text in (spelled, f"a {spelled} b", f"a{spelled}b"):
                found = hidden & set(tokenizer.encode(text))
                require(not found, f"the text {text!r} becomes the special id {min(found, default=0)}")

    def test_special_tokens_are_not_decoded(self) -> None:
        """`decode` leaves special tokens out, and any ids at all decode to some text."""
        tokenizer = self.tokenizer()
        special = sorted(_special_ids(tokenizer))
        for text in toy_texts():
            ids = tokenizer.encode(text)
            plain = tokenizer.decode(ids)
            require(tokenizer.decode([*ids, *special]) == plain, "special tokens show in a decoded text")
            for cut in range(len(ids)):
                require(isinstance(tokenizer.decode(ids[cut:]), str), "the end of a text does not decode")

    def test_save_and_load(self) -> None:
        """Loaded again it is the same: fingerprint, size, special tokens (BOS above all) and ids."""
        tokenizer, texts = self.tokenizer(), self.texts()
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save(Path(folder))
            require(self.subject.recognises(folder), "its family does not recognise the folder it was saved in")
            loaded = self.subject.load(folder)
        for role in _ROLES:
            was, now = getattr(tokenizer.special, role), getattr(loaded.special, role)
            require(was == now, f"its {role} token is {was} before and {now} after save and load")
        for name in ("family", "size", "fingerprint"):
            was, now = getattr(tokenizer, name), getattr(loaded, name)
            require(was == now, f"its {name} is {was} before and {now} after save and load")
        require(loaded.encode_batch(texts) == tokenizer.encode_batch(texts), "it has other ids after save and load")

    def test_made_twice_is_the_same(self) -> None:
        """Training or loading twice gives one fingerprint."""
        first, second = self.make(), self.make()
        require(first.fingerprint == second.fingerprint, "made twice from the same, it has two fingerprints")

    def test_unknown_option_is_refused(self) -> None:
        """A training option that does not exist is an error in one line."""
        if not self.subject.trainable:
            raise NotApplicable("this family only loads")
        try:
            self.subject.train(toy_texts(), {**self.options, "no_such_option": 1})
        except TilbenchError:
            return
        require(False, "a training option that does not exist is accepted, or is no ConfigError")

    def _stated_drops(self) -> str:
        return self.subject.drops if isinstance(self.subject, DropsCharacters) else ""


def _special_ids(tokenizer: Tokenizer) -> set[int]:
    """Return the ids that no text may become; the unknown token is one that a text may become."""
    return {getattr(tokenizer.special, role) for role in ("bos", "eos", "pad")} - {None, tokenizer.special.unk}


def _shown(text: str) -> str:
    text = regex.sub(r"\s+", " ", text)
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
