"""Weights that nothing here can compute, told by their names."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["unsupported"]

_NANOCHAT = ("ve_gate", "value_embeds", "resid_lambdas", "x0_lambdas")


def unsupported(names: Collection[str]) -> str:
    """Say why weights with these names cannot be computed here; empty where nothing speaks against it."""
    found = [part for part in _NANOCHAT if any(part in name.split(".") for name in names)]
    if not found:
        return ""
    return (
        f"nanochat is not supported, because its layers have parts that nothing here computes ({', '.join(found)}): "
        "value embeddings with a gate, and the first embedding mixed in again"
    )
