"""Learning-rate schedules, as pure functions of the step."""

from __future__ import annotations

import math

from tilbench.config.model import Schedule

__all__ = ["learning_rate"]


def learning_rate(step: int, steps: int, peak: float, schedule: Schedule) -> float:
    """Return the learning rate of update `step`, which is one of 1 … `steps`.

    All schedules rise linearly to `peak` at update `schedule.warmup`. From there

        constant   stays
        linear     falls in a straight line
        cosine     falls along half a cosine (Loshchilov & Hutter, SGDR, 2017, without restarts)
        wsd        stays, then falls over the last round(decay · steps) updates (warmup–stable–decay: Hu et
                   al., MiniCPM, 2024): with `tail` linear or cosine as above, with sqrt as 1 - √ of the share
                   of the decay that is done (Hägele et al., 2024)

    and the last update has the rate `peak · schedule.final` exactly (except constant, which ignores it).
    """
    if step < schedule.warmup:
        return peak * step / schedule.warmup
    start = schedule.decay_start(steps)
    if step <= start or start >= steps:
        return peak
    left = (steps - step) / (steps - start)  # 1 at the start of the decay, 0 at the last update
    shape = schedule.tail if schedule.name == "wsd" else schedule.name
    if shape == "cosine":
        left = (1 - math.cos(math.pi * left)) / 2
    elif shape == "sqrt":
        left = 1 - math.sqrt(1 - left)
    return peak * (schedule.final + (1 - schedule.final) * left)
