"""A decoding sweep: which settings are tried, and what a good text is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from pydantic import Field, TypeAdapter, model_validator

from tilbench.config.base import Schema
from tilbench.config.decoding import SAMPLING, Sampling

__all__ = ["Sweep"]


class Sweep(Schema):
    """What `tilbench decode` tries. The objective of a text is the weighted mean of its terms, each from 0 to 1."""

    presets: dict[str, Sampling] = {
        "greedy": Sampling(),
        "greedy-penalty": Sampling(repetition_penalty=1.1),
        "greedy-no-repeat": Sampling(no_repeat_ngram=4),
        "careful": Sampling(temperature=0.6, top_p=0.9, repetition_penalty=1.1),
        "nucleus": Sampling(temperature=0.7, top_p=0.9, repetition_penalty=1.1),
        "balanced": Sampling(temperature=0.8, top_k=50, top_p=0.95, repetition_penalty=1.1),
        "open": Sampling(temperature=1.0, top_p=0.95),
    }
    """By name. A file's own presets replace these."""
    grid: dict[str, list[float]] = {}
    """Field of a preset → values; every combination is tried as well."""
    default: str = "greedy"
    """The preset that the winner is compared with."""
    metric: str = "behavior"
    """Registered metric of prompts, whose settings have the fields of a preset."""
    settings: dict[str, Any] = {"max_new_tokens": 64}
    """Other settings of the metric, the same for all."""
    objective: dict[str, float] = Field(
        default={
            "loop_rate": 1.0,
            "repeated_4gram_rate": 1.0,
            "empty_rate": 1.0,
            "completion_rate": 1.0,
            "distinct_2": 1.0,
            "language_consistency": 1.0,
        },
        min_length=1,
    )
    """Value of the metric → weight. A value of which less is better counts as 1 minus itself."""

    @model_validator(mode="after")
    def _consistent(self) -> Sweep:
        if unknown := sorted(set(self.grid) - set(SAMPLING)):
            raise ValueError(f"grid.{unknown[0]}: a preset has {', '.join(SAMPLING)}")
        if self.default not in self.presets:
            raise ValueError(f"default {self.default!r} is none of the presets {', '.join(self.presets)}")
        if any(weight <= 0 for weight in self.objective.values()):
            raise ValueError("objective: every weight is more than 0")
        self.candidates()
        return self

    def candidates(self) -> Mapping[str, Sampling]:
        """Return every preset by its name, those of the grid by what they set; equal ones once."""
        made = dict(self.presets)
        if self.grid:
            for values in itertools.product(*self.grid.values()):
                fields = dict(zip(self.grid, values, strict=True))
                preset = TypeAdapter(Sampling).validate_python(fields)
                if preset not in made.values():
                    made[" ".join(f"{name}={value:g}" for name, value in fields.items())] = preset
        return made
