"""Trainers: loops that fit a built module to a mix of text by a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilbench import hookimpl

if TYPE_CHECKING:
    from tilbench.hookspecs import Register

__all__ = ["register_trainers"]


@hookimpl
def register_trainers(register: Register) -> None:
    """Register the trainers; torch is imported when one of them is first used."""
    register(
        "pretrain",
        "tilbench_trainers.loop.pretrain:Pretrain",
        summary="next-token training from scratch, on one device; resumes exactly",
    )
    register(
        "sft",
        "tilbench_trainers.sft.trainer:Sft",
        summary="supervised fine-tuning on conversations: only the assistant's tokens are learned",
    )
