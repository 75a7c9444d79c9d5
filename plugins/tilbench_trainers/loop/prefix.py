"""The prefix rule of a run: what its texts begin with, and so what its checkpoints say that texts begin with."""

from __future__ import annotations

from tilbench.kinds.trainer import Start
from tilbench.scoring.encode.prefix import Prefix

__all__ = ["prefix_rule"]


def prefix_rule(fresh: int | None, start: Start | None) -> Prefix:
    """Return the rule of the weights that training starts from; `fresh` before every text where there are none.

    A run that changed the rule would be scored otherwise than its base before its first step.
    """
    token, contexts = (fresh, True) if start is None else (start.prefix, start.contexts)
    return Prefix(token, contexts=contexts and token is not None, label="none" if token is None else f"id {token}")
