"""tilbench's training loop against the Trainer of Transformers and litgpt's model: same weights, batches and machine.

    python benchmarks/training.py [--json] [--small] [--precision fp32] [--steps 12] [--turns 3]
                                  [--peers trainer-compiled,litgpt-compiled]

It trains one architecture on all sides: a Llama of the sizes of Turkish v1 (24.7M parameters, 64,000
entries; its own ALiBi decoder is no class of Transformers), 4 sequences of 512 tokens, bf16 autocast over fp32 weights
(or fp32 alone, for processors without bf16 instructions), fused AdamW, clipping at 1. Each side is a process of its
own, starts from the same weights, and is given the same batches of Zipf-distributed ids. The sides take turns of a few
steps; the first turn, in which things are compiled, does not count, and the median of the others does. Ours is the
whole loop as `tilbench train` runs it.

`--json` prints one line a peer: case, ours_tok_s, peer_tok_s, ratio (ours / peer), ours_peak_bytes, peer_peak_bytes
(of the whole process), ours_loss, peer_loss (of the last step), largest_loss_difference (over all steps), spread
(slowest / fastest turn of ours: how noisy the machine was), ours_peak_share (of 6 operations a parameter and token, of
the rate of one large bf16 matrix product measured in the same run) and what was run on what.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, TextIO

LENGTH, ROWS = 512, 4
SIZES = {
    "vocab_size": 64_000,
    "max_length": LENGTH,
    "hidden_size": 256,
    "num_layers": 12,
    "num_heads": 8,
    "num_kv_heads": 2,
    "intermediate_size": 688,
}
SMALL = {**SIZES, "vocab_size": 4_000, "hidden_size": 64, "num_layers": 2, "intermediate_size": 172}
LEARNING_RATE, DECAY, CLIP = 3e-4, 0.1, 1.0
PEERS = ("trainer", "trainer-compiled", "litgpt", "litgpt-compiled")
PEAK_BYTES_UNIT = 1 if sys.platform == "darwin" else 1024


class Turns:
    """A side's half of taking turns: asks its parent for steps, and says how long they took."""

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._left = 0
        self._began = 0.0

    def begin(self) -> None:
        """Wait until a step may begin."""
        if not self._left:
            self._left = int(sys.stdin.readline() or 0)
            if not self._left:
                raise SystemExit
            self._began = time.perf_counter()

    def end(self, losses: Callable[[], Sequence[float]]) -> None:
        """Say that a step is done; after the last of a turn, tell the parent."""
        self._left -= 1
        if not self._left:
            seconds = time.perf_counter() - self._began
            self._answers.write(json.dumps({"seconds": seconds, "peak": _peak(), "losses": list(losses())}) + "\n")
            self._answers.flush()


def _peak() -> int:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_BYTES_UNIT


def batch(step: int, vocabulary: int) -> Any:
    """Return ids int64 [ROWS, LENGTH + 1] of a step: rank r with probability ∝ 1 / r, ranks spread over the ids."""
    import numpy as np
    import torch

    draw = np.random.default_rng(step).random((ROWS, LENGTH + 1))
    ranks = np.exp(draw * np.log(vocabulary)).astype(np.int64) - 1
    return torch.from_numpy(ranks.clip(0, vocabulary - 1) * 7919 % vocabulary)


def _ours_module(sizes: dict[str, Any]) -> Any:
    import torch

    from tilbench_decoders.llama import Llama

    torch.manual_seed(0)
    return Llama().build(Llama.Config(**sizes))


def ours(sizes: dict[str, Any], turns: Turns, compiled: bool, precision: str) -> None:
    """Run the whole loop of trainer `pretrain`, on batches that wait for their turn."""
    import torch

    from tilbench.config.model import ModelSpec
    from tilbench.kinds.trainer import TrainingJob
    from tilbench.loader import load_plugins
    from tilbench.testing.toys import ToyTokenizer
    from tilbench_decoders.llama import Llama
    from tilbench_trainers.data.batch import Batch
    from tilbench_trainers.loop.pretrain import Pretrain

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)

        def losses() -> list[float]:
            return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]

        class Waiting:
            def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Batch:
                if step:
                    turns.end(losses)
                turns.begin()
                ids = batch(step, sizes["vocab_size"])
                return Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), ROWS * LENGTH)

            def places(self, step: int) -> Sequence[object]:
                return [f"row {row}" for row in range(ROWS)]

        class Benchmarked(Pretrain):
            def batches(self, *_: Any) -> Any:
                return Waiting()

            def validator(self, *_: Any) -> Any:
                return ()

        recipe = {
            "steps": 10**6,
            "sequence_length": LENGTH,
            "batch_size": ROWS,
            "precision": precision,
            "compile": compiled,
            "optimizer": {"learning_rate": LEARNING_RATE, "weight_decay": DECAY, "clip": CLIP, "betas": (0.9, 0.95)},
            "schedule": {"name": "constant"},
        }
        spec = ModelSpec.model_validate(
            {
                "name": "benchmark",
                "title": "Benchmark",
                "architecture": {"name": "llama", "config": sizes},
                "tokenizer": {"family": "toy"},
                "recipe": recipe,
            }
        )
        registry = load_plugins().registry
        device = "cuda" if torch.cuda.is_available() else "cpu"
        job = TrainingJob(
            spec=spec,
            architecture=Llama(),
            build=cache(partial(_ours_module, sizes)),
            tokenizer=ToyTokenizer(),
            sources=[],
            hardware=registry.hardware.get(device),
            out=out,
            progress=False,
        )
        Benchmarked().fit(job)


def trainer(sizes: dict[str, Any], turns: Turns, compiled: bool, precision: str) -> None:
    """Run the Trainer of Transformers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from tilbench_decoders.llama import Llama

    config, family = Llama.Config(**sizes), Llama()
    model = LlamaForCausalLM(LlamaConfig(**family.transformers_config(config)))
    model.load_state_dict(family.to_transformers(config, _ours_module(sizes).state_dict()), strict=False)
    found: list[float] = []

    class Rows(torch.utils.data.Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return ROWS * 10**6

        def __getitem__(self, index: int) -> dict[str, Any]:
            ids = batch(index // ROWS, sizes["vocab_size"])[index % ROWS]
            return {"input_ids": ids[:-1], "labels": ids[1:], "shift_labels": ids[1:]}

    class Waiting(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turns.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.end(lambda: found)

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(Rows())

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().training_step(*args, **kwargs)
            found.append(loss.item())
            return loss

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=ROWS,
            max_steps=10**6,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            weight_decay=DECAY,
            adam_beta2=0.95,
            max_grad_norm=CLIP,
            optim="adamw_torch_fused",
            bf16=precision == "bf16",
            torch_compile=compiled,
            use_cpu=not torch.cuda.is_available(),
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        InOrder(model=model, args=arguments, train_dataset=Rows(), callbacks=[Waiting()]).train()


def litgpt(sizes: dict[str, Any], turns: Turns, compiled: bool, precision: str) -> None:
    """Run litgpt's model in the loop of its own pretraining, without Fabric around it."""
    import torch
    from litgpt import GPT, Config
    from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
    from litgpt.utils import chunked_cross_entropy

    from tilbench_decoders.llama import Llama

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config, family = Llama.Config(**sizes), Llama()
    settings = Config(
        name="benchmark",
        block_size=LENGTH,
        vocab_size=sizes["vocab_size"],
        padded_vocab_size=sizes["vocab_size"],
        n_layer=sizes["num_layers"],
        n_head=sizes["num_heads"],
        n_query_groups=sizes["num_kv_heads"],
        n_embd=sizes["hidden_size"],
        intermediate_size=sizes["intermediate_size"],
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_eps=config.norm_eps,
        mlp_class_name="LLaMAMLP",
        rope_base=int(config.rope_theta),
    )
    model = GPT(settings)
    theirs = family.to_transformers(config, _ours_module(sizes).state_dict())
    state: dict[str, Any] = {}
    copy_weights_hf_llama(settings, {}, state, {**theirs, "lm_head.weight": theirs["model.embed_tokens.weight"]})
    model.load_state_dict(state, strict=False)
    model.lm_head.weight = model.transformer.wte.weight
    model.to(device).train()
    matrices = [each for each in model.parameters() if each.ndim >= 2]
    others = [each for each in model.parameters() if each.ndim < 2]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), fused=True)
    run = torch.compile(model) if compiled else model
    found: list[float] = []
    step = 0
    while True:
        turns.begin()
        ids = batch(step, sizes["vocab_size"]).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = chunked_cross_entropy(run(ids[:, :-1].contiguous()), ids[:, 1:].contiguous(), chunk_size=0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
        turns.end(lambda: found)
        step += 1


def work(side: str, small: bool, precision: str) -> None:
    """Be one side: standard output belongs to the parent, whatever a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, _, how = side.partition("-")
    run = {"ours": ours, "trainer": trainer, "litgpt": litgpt}[name]
    run(SMALL if small else SIZES, Turns(answers), how == "compiled", precision)


class Side:
    """The parent's half: a process that trains when it is told to."""

    def __init__(self, name: str, small: bool, precision: str) -> None:
        self.name = name
        command = [sys.executable, __file__, "--worker", name, "--precision", precision]
        command += ["--small"] if small else []
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self.seconds: list[float] = []
        self.last: dict[str, Any] = {}

    def turn(self, steps: int) -> bool:
        """Train that many steps; say whether it could."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
            self.last = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            return False
        self.seconds.append(self.last["seconds"] / steps)
        return True

    def why(self) -> str:
        """Return the last line that the process said."""
        self._process.wait(timeout=60)
        self._log.seek(0)
        return (self._log.read().strip().splitlines() or ["it said nothing"])[-1]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def compare(
    peers: Sequence[str], steps: int, turns: int, *, small: bool, compiled: bool, precision: str
) -> Iterator[dict[str, Any]]:
    """Let all sides take turns, and yield a line for each peer."""
    mine = Side("ours-compiled" if compiled else "ours", small, precision)
    sides = [mine, *(Side(peer, small, precision) for peer in peers)]
    try:
        for turn in range(turns + 1):
            # Every turn begins with another side, so that no side always follows the same one.
            for side in sides[turn % len(sides) :] + sides[: turn % len(sides)]:
                if not side.turn(steps):
                    if side is mine:
                        raise SystemExit(f"our side stopped: {mine.why()}")
                    sys.stderr.write(f"{side.name} is left out: {side.why()}\n")
                    sides = [each for each in sides if each is not side]
    finally:
        for side in sides:
            side.close()
    peak = matmul_rate(precision)
    about = {"precision": "bf16 autocast" if precision == "bf16" else precision}
    yield from (_line(mine, side, SMALL if small else SIZES, peak) | about for side in sides if side is not mine)


def _line(mine: Side, peer: Side, sizes: dict[str, Any], peak: float) -> dict[str, Any]:
    import torch

    tokens = ROWS * LENGTH
    rates = [tokens / statistics.median(side.seconds[1:]) for side in (mine, peer)]
    losses = mine.last["losses"], peer.last["losses"]
    parameters = sum(each.numel() for each in _ours_module(sizes).parameters())
    return {
        "case": f"{mine.name} against {peer.name}",
        "ours_tok_s": round(rates[0], 1),
        "peer_tok_s": round(rates[1], 1),
        "ratio": round(rates[0] / rates[1], 3),
        "ours_peak_bytes": mine.last["peak"],
        "peer_peak_bytes": peer.last["peak"],
        "memory_ratio": round(mine.last["peak"] / peer.last["peak"], 3),
        "ours_loss": losses[0][-1],
        "peer_loss": losses[1][-1],
        "largest_loss_difference": max(abs(a - b) for a, b in zip(*losses, strict=False)),
        "loss_steps": min(map(len, losses)),
        "spread": round(max(mine.seconds[1:]) / min(mine.seconds[1:]), 3),
        "peer_spread": round(max(peer.seconds[1:]) / min(peer.seconds[1:]), 3),
        "ours_peak_share": round(6 * parameters * rates[0] / peak, 3),
        "parameters": parameters,
        "batch": [ROWS, LENGTH],
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
    }


def matmul_rate(precision: str) -> float:
    """Return the operations a second of a matrix product of 4096 rows and columns, the best of five."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(4096, 4096, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        (a @ b)[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return 2 * 4096**3 / best


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--steps", type=int, default=4, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=5, help="turns that count")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--eager", action="store_true", help="do not compile our side")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.small, given.precision)
        return
    sides = {"small": given.small, "compiled": not given.eager, "precision": given.precision}
    for line in compare(given.peers.split(","), given.steps, given.turns, **sides):
        shown = json.dumps(line) if given.json else "  ".join(f"{key} {value}" for key, value in line.items())
        sys.stdout.write(shown + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
