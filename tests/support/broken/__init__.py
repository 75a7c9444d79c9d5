"""Parts that do not conform: each is a toy with one fault, of the kind that has happened. For tests of checks.

Each table maps what is wrong to a broken subject and the checks that must fail for it.
"""

from __future__ import annotations

from tests.support.broken.architectures import ARCHITECTURES
from tests.support.broken.metrics import METRICS
from tests.support.broken.models import LANGUAGE_MODELS, LOADERS
from tests.support.broken.tokenizers import TOKENIZERS

__all__ = ["ARCHITECTURES", "LANGUAGE_MODELS", "LOADERS", "METRICS", "TOKENIZERS"]
