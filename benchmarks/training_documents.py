"""Tokens per second and MFU of every document's configuration on one device, compiled, at the batch of its recipe.

    python benchmarks/training_documents.py [--device cuda --hardware h200] [--precision fp32] [--json] [--small]

At full size, unless `--small`. Adapters and fine-tuning are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from tilbench.config.references import parse_spec
from tilbench.kinds.architecture import Decoder
from tilbench.loader import load_plugins
from tilbench.resolve.specs import load_spec
from tilbench_trainers.data.batch import Batch
from tilbench_trainers.loop.forward import Forward
from tilbench_trainers.optim.optimizer import clip, make_optimizer, trainable


def documents(device: str, profile: str, precision: str, *, small: bool, steps: int) -> Iterator[dict[str, Any]]:
    """Yield a line for every document's configuration that is trained from scratch, at the batch of its recipe."""
    registry = load_plugins().registry
    on = torch.device(device)
    hardware = replace(registry.hardware.get(profile or on.type), count=1)
    for name in registry.models.names():
        spec = load_spec(parse_spec(f"{name}:tiny" if small else name), registry)
        recipe = spec.recipe
        if recipe is None or recipe.adapter is not None or recipe.trainer != "pretrain":
            continue
        recipe = recipe.model_copy(update={"compile": True, "precision": precision})
        if on.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        architecture = registry.architectures.get(spec.architecture.name)
        torch.manual_seed(0)
        module = architecture.build(architecture.Config(**spec.architecture.config)).to(on).train()
        assert isinstance(module, Decoder)
        forward = Forward(module, recipe, on)
        optimizer = make_optimizer(module, recipe.optimizer)
        parameters = list(trainable(module).values())
        ids = torch.randint(module.vocab_size, (recipe.batch_size, recipe.sequence_length + 1), device=on)
        part = Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), ids[:, 1:].numel())
        scaler = torch.amp.GradScaler(on.type, enabled=False)
        seconds = []
        for _ in range(steps + 2):  # the first two compile and warm up
            began = time.perf_counter()
            loss = forward.accumulate(part, recipe.batch_size, scaler)
            clip(parameters, recipe.optimizer.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss.item()
            seconds.append(time.perf_counter() - began)
        rate = part.ids.numel() / statistics.median(seconds[2:])
        count = sum(each.numel() for each in module.parameters())
        yield {
            "case": spec.name + (":tiny" if small else ""),
            "tok_s": round(rate),
            "mfu": hardware.mfu(6 * count * rate, recipe.precision),
            "peak_bytes": torch.cuda.max_memory_reserved() if on.type == "cuda" else None,
            "parameters": count,
            "batch": [recipe.batch_size, recipe.sequence_length],
            "hardware": hardware.name,
        }
        del module, forward, optimizer, parameters


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help="the tiny variants, to see that it runs")
    parser.add_argument("--steps", type=int, default=10, help="steps that count")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--hardware", default="", help="profile whose peak MFU is of, such as h200")
    given = parser.parse_args()
    for line in documents(given.device, given.hardware, given.precision, small=given.small, steps=given.steps):
        shown = json.dumps(line) if given.json else "  ".join(f"{key} {value}" for key, value in line.items())
        sys.stdout.write(shown + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
