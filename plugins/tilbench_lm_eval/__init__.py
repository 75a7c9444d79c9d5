"""Tasks of lm-evaluation-harness in a suite, and tilbench models in lm-evaluation-harness."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """The metrics of lm-evaluation-harness's own tasks, which a suite lists under `lm_eval`."""
    register(
        "lm_eval",
        "tilbench_lm_eval.metric:LmEval",
        summary="tasks of lm-evaluation-harness, with their own prompts, filters and metrics",
    )
