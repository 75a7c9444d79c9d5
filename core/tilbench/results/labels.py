"""What models are called where two have one name."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

__all__ = ["model_labels", "names_model"]

_DIGITS = 6  # of a fingerprint's digest in a label
_Model = tuple[str, str]  # name, fingerprint


def model_labels(models: Sequence[_Model]) -> dict[_Model, str]:
    """Return a different label for every model: its name, and where that is shared a digest of its fingerprint.

    The digest has six hex digits, and more only while two labels are the same.
    """
    shared = Counter(name for name, _ in models)
    digits = {model: _DIGITS if shared[model[0]] > 1 else 0 for model in models}
    while True:
        labels = {model: _label(model, count) for model, count in digits.items()}
        seen = Counter(labels.values())
        same = [model for model, label in labels.items() if seen[label] > 1]
        if not same:
            return labels
        for model in same:
            digits[model] = max(_DIGITS, digits[model] + 1)


def names_model(text: str, model: _Model) -> bool:
    """Say whether `text` is NAME#MARK of a model: its name and the beginning of its fingerprint or its label's digest.

    >>> [names_model(text, ("run#2", "abcdef")) for text in ("run#2#ab", "run#2 #abc", "run#2#", "run#ab")]
    [True, True, False, False]
    """
    name, _, mark = text.rpartition("#")
    return (
        name.rstrip() == model[0] and bool(mark) and any(each.startswith(mark) for each in (model[1], _digest(model)))
    )


def _digest(model: _Model) -> str:
    return hashlib.sha256(model[1].encode()).hexdigest()


def _label(model: _Model, digits: int) -> str:
    return f"{model[0]} #{_digest(model)[:digits]}" if digits else model[0]
