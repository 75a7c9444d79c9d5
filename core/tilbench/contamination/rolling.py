"""Rolling hashes of windows, over all positions at once.

A sequence x₀, x₁ … has the prefix sums S_k = Σ_{i<k} x_i B^i modulo 2⁶⁴; the window of n from k hashes to
(S_{k+n} − S_k) · B^{−k}, which depends on the window alone (R. Karp and M. Rabin, "Efficient randomized
pattern-matching algorithms", 1987). B is odd, and so has an inverse. Equal windows have equal hashes; the
converse is for the caller to check.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tilbench.contamination.normalise import Words

__all__ = ["Hasher"]

Hashes = NDArray[np.uint64]
_LETTER = 0x9E3779B97F4A7C15
_WORD = 0xC2B2AE3D27D4EB4F
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT = np.uint64(32)


class Hasher:
    """Hashes the windows of one stretch of words after another, keeping the tables of powers."""

    def __init__(self) -> None:
        self._tables = {base: _powers(base, 1 << 12) for base in (_LETTER, _WORD)}

    def prefixes(self, words: Words) -> tuple[Hashes, Hashes]:
        """Return the prefix sums of letters, [letters + 1], and of words, [words + 1]."""
        letters = self._sums(_mixed(words.letters.astype(np.uint64)), _LETTER)
        return letters, self._sums(_mixed(self._windows(letters, words.starts[:-1], words.starts[1:], _LETTER)), _WORD)

    def letter_windows(self, prefix: Hashes, size: int) -> Hashes:
        """Return the hash of every window of `size` letters."""
        return self._every(prefix, size, _LETTER)

    def word_windows(self, prefix: Hashes, size: int) -> Hashes:
        """Return the hash of every window of `size` words."""
        return self._every(prefix, size, _WORD)

    def _every(self, prefix: Hashes, size: int, base: int) -> Hashes:
        count = max(0, len(prefix) - size)
        hashes: Hashes = (prefix[size:] - prefix[:count]) * self._inverses(base, count)[:count]
        return hashes

    def _windows(self, prefix: Hashes, begin: NDArray[np.int64], end: NDArray[np.int64], base: int) -> Hashes:
        hashes: Hashes = (prefix[end] - prefix[begin]) * self._inverses(base, len(prefix))[begin]
        return hashes

    def _sums(self, values: Hashes, base: int) -> Hashes:
        self._grow(base, len(values))
        sums = np.zeros(len(values) + 1, dtype=np.uint64)
        np.cumsum(values * self._tables[base][0][: len(values)], out=sums[1:])
        return sums

    def _inverses(self, base: int, count: int) -> Hashes:
        self._grow(base, count)
        return self._tables[base][1]

    def _grow(self, base: int, count: int) -> None:
        if len(self._tables[base][0]) < count:
            self._tables[base] = _powers(base, count + count // 4)


def _powers(base: int, count: int) -> tuple[Hashes, Hashes]:
    """Return B⁰, B¹ … and B⁰, B⁻¹ …, modulo 2⁶⁴."""
    return _chain(base, count), _chain(pow(base, -1, 1 << 64), count)


def _chain(base: int, count: int) -> Hashes:
    factors = np.full(count, base, dtype=np.uint64)
    factors[:1] = 1
    chain: Hashes = np.cumprod(factors, dtype=np.uint64)
    return chain


def _mixed(values: Hashes) -> Hashes:
    """Scatter the bits of each value, so that neighbouring code points are not neighbouring numbers."""
    mixed = (values + np.uint64(1)) * _MIX
    mixed ^= mixed >> _SHIFT
    mixed *= _MIX
    return mixed
