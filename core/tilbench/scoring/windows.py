"""Cuts a document's tokens into windows that fit a model, so that each token is predicted exactly once."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["windows"]


def windows(ids: Sequence[int], prefix: int | None, window: int, overlap: int = 1) -> list[tuple[list[int], list[int]]]:
    """Return `(context, targets)` pairs whose targets, laid end to end, are `ids`.

    A pair is computed in one forward pass over `context + targets[:-1]`, which is never longer than `window`. The
    first context is the prefix alone. Later ones hold the `overlap` tokens before their targets; the last pair,
    which has fewer targets than fit, is given as much context as fits. With `overlap = 1` this is exactly the
    scheme of lm-evaluation-harness (`get_rolling_token_windows` with `context_len=1`, then
    `make_disjoint_window`).

    prefix: id that the document is conditioned on. None: the first token is context only and is not scored.
    Raises ValueError unless 1 ≤ overlap ≤ window.
    """
    if not 1 <= overlap <= window:
        raise ValueError(f"overlap {overlap} must lie between 1 and the window of {window} tokens")
    ids = list(ids)
    if prefix is None:
        prefix, ids = (ids[0] if ids else 0), ids[1:]
    if not ids:
        return []
    done = min(window, len(ids))
    pairs = [([prefix], ids[:done])]
    while done < len(ids):
        end = min(done + window - overlap + 1, len(ids))
        pairs.append((ids[end - window - 1 : done], ids[done:end]))
        done = end
    return pairs
