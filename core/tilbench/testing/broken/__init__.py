"""Parts that do not conform: each is a toy with one fault, of the kind that has happened. For tests of checks.

Each table maps what is wrong to a broken subject and the checks that must fail for it.
"""

from __future__ import annotations

from tilbench.testing.broken.architectures import ARCHITECTURES
from tilbench.testing.broken.metrics import METRICS
from tilbench.testing.broken.models import LANGUAGE_MODELS, LOADERS
from tilbench.testing.broken.tokenizers import TOKENIZERS

__all__ = ["ARCHITECTURES", "LANGUAGE_MODELS", "LOADERS", "METRICS", "TOKENIZERS"]
