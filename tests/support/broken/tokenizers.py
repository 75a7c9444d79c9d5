"""Toy tokenizers with one fault each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.testing.toys import ToyTokenizer, ToyTokenizerFamily

__all__ = ["TOKENIZERS"]


class Lossy(ToyTokenizer):
    """Lower-cases, and counts nothing as unknown."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of the text in lower case."""
        return super().encode(text.lower())


class AddsBos(ToyTokenizer):
    """Puts BOS before every text."""

    def encode(self, text: str) -> list[int]:
        """Return one id too many."""
        return [0, *super().encode(text)]


class ReadsSpecials(ToyTokenizer):
    """Takes `</s>` in a text for the end of it."""

    def encode(self, text: str) -> list[int]:
        """Return the special id for its spelling."""
        parts = [super(ReadsSpecials, self).encode(part) for part in text.split("</s>")]
        return list(itertools.chain.from_iterable((*([1] if index else []), *ids) for index, ids in enumerate(parts)))


class TooLarge(ToyTokenizer):
    """Says that it has fewer ids than it uses."""

    size = 200


class BatchPads(ToyTokenizer):
    """Pads the texts of a batch."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids of one length."""
        ids = super().encode_batch(texts)
        longest = max(map(len, ids))
        return [[*each, *[2] * (longest - len(each))] for each in ids]


class NoBos(ToyTokenizer):
    """Has no BOS, though its options name one."""

    def __init__(self, special: SpecialTokens | None = None) -> None:
        super().__init__(replace(special or SpecialTokens(eos=1, pad=2), bos=None))


class LosesBos(ToyTokenizerFamily):
    """Loads everything but the BOS token."""

    def load(self, reference: str) -> ToyTokenizer:
        """Return a tokenizer without BOS."""
        return ToyTokenizer(replace(super().load(reference).special, bos=None))


class NewEachTime(ToyTokenizerFamily):
    """Gives every tokenizer a fingerprint of its own."""

    _numbers = itertools.count()

    def train(self, texts: Iterable[str], options: Mapping[str, object]) -> ToyTokenizer:
        """Return a tokenizer that no other one equals."""
        tokenizer = super().train(texts, options)
        tokenizer.fingerprint += str(next(self._numbers))
        return tokenizer


def _family(tokenizer: type[ToyTokenizer]) -> ToyTokenizerFamily:
    class Made(ToyTokenizerFamily):
        made = tokenizer

    return Made()


TOKENIZERS: Mapping[str, tuple[object, set[str]]] = {
    "lossy": (_family(Lossy), {"lossless"}),
    "adds BOS": (_family(AddsBos), {"nothing_is_added", "special_strings_are_text"}),
    "reads special tokens": (_family(ReadsSpecials), {"special_strings_are_text", "lossless"}),
    "ids beyond its size": (_family(TooLarge), {"ids_are_within_size"}),
    "pads a batch": (_family(BatchPads), {"batch_equals_single"}),
    "no BOS": (_family(NoBos), {"declared_special_tokens_are_there"}),
    "loses BOS": (LosesBos(), {"save_and_load"}),
    "a new fingerprint each time": (NewEachTime(), {"made_twice_is_the_same", "save_and_load"}),
}
"""What is wrong → a broken family, and the checks that must fail."""
