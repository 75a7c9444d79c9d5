"""A causal class cut at its final states: what comes after them is run by the class's own code."""

from __future__ import annotations

import copy
import math
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
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

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self._base = (base,)  # in a tuple: no submodule

    def __getattr__(self, name: str) -> Any:
        """Answer for the base model where its class's head asks for an attribute (Falcon-H1)."""
        if name in self.__dict__.get("_modules", ()) or "_base" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._base[0], name)

    @property
    def decoder(self) -> _Given:
        """Some classes call the base model's decoder (BART)."""
        return self

    def forward(self, *args: object, **kwargs: object) -> _States:
        """Return the one floating-point tensor among the arguments."""
        given = (*args, *kwargs.values())
        return _States(last_hidden_state=next(x for x in given if isinstance(x, Tensor) and x.is_floating_point()))


def base_name(model: nn.Module) -> str:
    """Return the name of the child that computes the final states; empty where there is none."""
    base = getattr(model, "base_model", model)
    children = list(model.named_children())
    named = [name for name, child in children if child is base]
    return next(iter(named + [name for name, child in children if isinstance(child, PreTrainedModel)]), "")


def head_of(model: nn.Module) -> nn.Module:
    """Return a view of `model` that shares its modules and takes final states in the place of embeddings.

    So soft caps, scales and whatever else a class does around its output embedding need no table here.
    """
    head, name = copy.copy(model), base_name(model)
    head.__dict__["_modules"] = {**model._modules, name: _Given(getattr(model, name))}
    return head


def head_logits(head: nn.Module, hidden: Tensor) -> Tensor:
    """Return the logits [..., V] of states [..., D]."""
    states = hidden.reshape(1, math.prod(hidden.shape[:-1]), hidden.shape[-1])  # [1, N, D]
    logits: Tensor = head(inputs_embeds=states, use_cache=False)[0]  # [1, N, V]
    return logits.reshape(*hidden.shape[:-1], logits.shape[-1])
