"""A general-purpose compressor as a model of text."""

from __future__ import annotations

import lzma
import math

from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.requests import Likelihood, RequestKind
from tilbench_baselines.base import Baseline

__all__ = ["Xz", "XzLoader", "compressed_size"]

_CARD = ModelCard(
    name="xz",
    fingerprint="xz:1:raw-lzma2-9e",
    supports=frozenset({RequestKind.DOCUMENT}),
)


class Xz(Baseline):
    """Costs a document 8 bits for every byte of it compressed alone: a raw LZMA2 stream, preset 9 extreme.

    Compressed on its own, a document starts from nothing and repeats itself more the longer it is: the figure
    falls with the length of documents, so compare it across models on one dataset and never across
    datasets. It has no tokens and no probability of a continuation, so it scores documents only.
    """

    def __init__(self) -> None:
        self.card = _CARD

    def likelihood(self, context: str, text: str) -> Likelihood:
        """Compress the document."""
        size = compressed_size(text.encode())
        return Likelihood(-size * 8 * math.log(2), tokens=None)


class XzLoader:
    """Opens `xz`."""

    def recognises(self, reference: str) -> bool:
        """Say whether the reference is its name."""
        return reference == _CARD.name

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Describe the model."""
        return _CARD

    def open(self, reference: str, options: OpenOptions) -> Xz:
        """Open the model."""
        return Xz()


def compressed_size(data: bytes) -> int:
    """Return the bytes of a raw LZMA2 stream of `data`, which has no header, checksum or index.

    The dictionary is the data's own size instead of the preset's 64 MiB: it reaches every match all the same
    and is a hundred times faster on short documents (sizes are equal on all of a Kazakh test set).
    """
    preset = 9 | lzma.PRESET_EXTREME
    dictionary = min(max(1 << 12, 1 << len(data).bit_length()), 1 << 26)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": dictionary}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))
