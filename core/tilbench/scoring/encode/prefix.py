"""The prefix policy: which token, if any, stands before a text that a model is asked about.

Getting it wrong changes perplexity by orders of magnitude, so it is read from the checkpoint, shown, recorded in
the model's fingerprint, and refused where the checkpoint contradicts itself.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Prefix"]


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prefix policy.

    id: the token a document is conditioned on; it is never scored. None: nothing stands before a document, and its
    first token costs log2(vocabulary size) bits. contexts: it also stands before the context of a continuation,
    as it does where the model's own tokenizer adds it. label: how it is shown, such as `</s> (2)`.
    """

    id: int | None
    contexts: bool
    label: str

    def __str__(self) -> str:
        """Return what a record says."""
        return f"{self.label}{'' if self.contexts or self.id is None else ', before whole documents only'}"
