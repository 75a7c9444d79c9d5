"""A causal class cut at its final states: what comes after them is run by the class's own code."""

from __future__ import annotations

import copy
import math
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

__all__ = ["base_name", "head_of", "head_logits"]


class _States(BaseModelOutputWithPast):
    """Final states that stand for a base model's output; whatever else is asked of it is None."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


class _Given(nn.Module):
    """Stands in a base model's place: returns the states that it is handed as embeddings."""

    @property
    def decoder(self) -> _Given:
        """Some classes call the base model's decoder (OPT, BART)."""
        return self

    def forward(self, *args: Any, **kwargs: Any) -> _States:
        """Return the one floating-point tensor among the arguments."""
        given = (*args, *kwargs.values())
        return _States(
            last_hidden_state=next(x for x in given if isinstance(x, Tensor) and x.is_floating_point())
        )


def base_name(model: nn.Module) -> str:
    """Return the name of the child that computes the final states; empty where there is none."""
    base = getattr(model, "base_model", model)
    return next((name for name, child in model.named_children() if child is base), "")


def head_of(model: nn.Module) -> nn.Module:
    """Return a view of `model` that shares its modules and takes final states in the place of embeddings.

    So soft caps, scales and whatever else a class does around its output embedding need no table here.
    """
    head = copy.copy(model)
    head.__dict__["_modules"] = {**model._modules, base_name(model): _Given()}
    return head


def head_logits(head: nn.Module, hidden: Tensor) -> Tensor:
    """Return the logits [..., V] of states [..., D]."""
    states = hidden.reshape(1, math.prod(hidden.shape[:-1]), hidden.shape[-1])  # [1, N, D]
    logits: Tensor = head(inputs_embeds=states, use_cache=False)[0]  # [1, N, V]
    return logits.reshape(*hidden.shape[:-1], logits.shape[-1])
