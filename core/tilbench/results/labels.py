"""What models are called where two have one name."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

__all__ = ["model_labels"]

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


def _label(model: _Model, digits: int) -> str:
    name, fingerprint = model
    return f"{name} #{hashlib.sha256(fingerprint.encode()).hexdigest()[:digits]}" if digits else name
