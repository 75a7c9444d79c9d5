"""Cuts a document's tokens into windows that fit a model, so that each token is predicted exactly once."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["windows"]


def windows(
    ids: Sequence[int], prefix: int | None, window: int, overlap: int = 1, *, prefix_each: bool = False
) -> list[tuple[list[int], list[int]]]:
    """Return `(context, targets)` pairs whose targets, laid end to end, are `ids`.

    A pair is computed in one forward pass over `context + targets[:-1]`, which is never longer than `window`. The
    first context is the prefix alone. Later ones hold the `overlap` tokens before their targets; the last pair,
    which has fewer targets than fit, is given as much context as fits. With `overlap = 1` this is exactly the
    scheme of lm-evaluation-harness (`get_rolling_token_windows` with `context_len=1`, then
    `make_disjoint_window`).

    prefix: id that the document is conditioned on. None: the first token is context only, and in no pair's targets.
    prefix_each: every later context begins with the prefix too, which takes one place of the window.
    Raises ValueError unless 1 ≤ overlap ≤ window, with `prefix_each` less than the window.
    """
    again = [prefix] if prefix_each and prefix is not None else []
    if not 1 <= overlap <= window - len(again):
        raise ValueError(f"overlap {overlap} must lie between 1 and the window of {window - len(again)} tokens")
    ids = list(ids)
    if prefix is None:
        prefix, ids = (ids[0] if ids else 0), ids[1:]
    if not ids:
        return []
    done = min(window, len(ids))
    pairs = [([prefix], ids[:done])]
    room = window - len(again)
    while done < len(ids):
        end = min(done + room - overlap + 1, len(ids))
        pairs.append(([*again, *ids[end - room - 1 : done]], ids[done:end]))
        done = end
    return pairs
