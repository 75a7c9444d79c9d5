"""`python -m tilbench_lm_eval run …`: lm-evaluation-harness's own command, with the model `tilbench` in it.

The model is `tilbench` unless `--model` names another, and the device one that is here unless `--device` does: the
harness's own default is a GPU.
"""

from __future__ import annotations

import sys
import warnings

from tilbench.errors import TilbenchError

__all__ = ["main"]


def main() -> None:
    """Run the command on `sys.argv`. Ends with status 2 and one line where a model cannot be opened."""
    try:
        from tilbench_lm_eval.library import require

        require("python -m tilbench_lm_eval")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # imports warn of other people's deprecations
            import torch
            from lm_eval.__main__ import cli_evaluate

            import tilbench_lm_eval.model  # noqa: F401 importing it registers the model
        given = {each.split("=")[0] for each in sys.argv}
        if "run" in sys.argv[1:2] and not given & {"--model", "-M"}:
            device = [] if "--device" in given else ["--device", "cuda" if torch.cuda.is_available() else "cpu"]
            sys.argv[2:2] = ["--model", "tilbench", *device]
        cli_evaluate()
    except TilbenchError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
