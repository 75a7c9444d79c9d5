"""tilbench against lm-evaluation-harness: the same weights, requests, machine and run.

    python benchmarks/scoring.py --data DIR [--json] [--cases letters-5shot,rolling] [--shape turkish-v1]

A Llama of 20 million parameters with random weights and a tokenizer trained on `text/kk/train` are written to a folder
in the layout of Transformers. Both tools open that folder, answer the same requests from text (so that tokenization
counts on both sides), and take turns; the medians are compared. The peer's batch size is tuned first, on the whole
case.

`--json` prints one line a case: case, ours_s, peer_s, ratio (peer / ours), tokens_naive (all tokens of all requests),
tokens_distinct (what they share at the beginning counted once), ideal_s (each distinct token forwarded once, in full
rows without a mask, and every wanted state projected), max_abs_diff and max_relative_diff (log-probabilities),
predictions_agree, and what was run on what.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scoring_generation import generation_case
from tilbench.config.suite import Suite
from tilbench.data.rows import Question
from tilbench.evaluation.plan import PlannedTask, plan_tasks
from tilbench.kinds.language_model import LanguageModel, OpenOptions
from tilbench.kinds.requests import Answer, Continuation, Document, Likelihood, Request
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.loader import Host, load_plugins
from tilbench.resolve.datasets import documents
from tilbench.resolve.models import find_model
from tilbench.resolve.tokenizers import load_tokenizer
from tilbench.scoring.forward.trie import Trie, as_ids

LENGTH = 2048
SHAPES: dict[str, dict[str, int]] = {
    "llama-20m": {
        "vocab_size": 16_384,
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 8,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
    },
    "turkish-v1": {  # the sizes of the document's model, with rotary angles for its linear biases
        "vocab_size": 64_000,
        "hidden_size": 256,
        "intermediate_size": 688,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
    },
}
BATCHES = (1, 2, 4, 8, 16, 32)
CHOICE = {"metric": "choice", "dataset": "mc/tumlu-kazakh/test", "language": "kk-Cyrl"}
TASKS: dict[str, dict[str, Any]] = {
    "letters-5shot": {
        **CHOICE,
        "limit": 60,
        "shots": 5,
        "examples": "mc/tumlu-kazakh/dev",
        "settings": {"same_subject": False},
    },
    "options-0shot": {**CHOICE, "limit": 100, "settings": {"form": "cloze"}},
    "rolling": {"metric": "bpb", "dataset": "text/kk/heldout", "language": "kk-Cyrl", "limit": 60},
    "rolling-long": {"metric": "bpb", "dataset": "text/ru/heldout", "language": "ru-Cyrl", "limit": 4},
}

GENERATION = "generation"


@dataclass(frozen=True)
class Side:
    """A way to answer requests, and how long it took."""

    answers: Callable[[Sequence[Request]], list[float]]

    def timed(self, requests: Sequence[Request]) -> tuple[list[float], float]:
        """Return the log-probabilities, and the seconds that they took."""
        start = time.perf_counter()
        return self.answers(requests), time.perf_counter() - start


def write_model(folder: Path, texts: Sequence[str], shape: dict[str, int]) -> None:
    """Write a random Llama and a byte-level BPE of its vocabulary, or of what the texts give, as Transformers does."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=shape["vocab_size"], special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    fast.train_from_iterator(texts, trainer)
    wrap: Any = PreTrainedTokenizerFast
    tokenizer = wrap(tokenizer_object=fast, bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    configure: Any = LlamaConfig
    config = configure(
        **shape, max_position_embeddings=LENGTH, bos_token_id=0, eos_token_id=1, tie_word_embeddings=True
    )
    model: Any = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)  # far from uniform, so that predictions are no ties
    model.save_pretrained(folder)


def plan(host: Host, data: Path, case: str) -> PlannedTask:
    """Return the task of a case with its rows and requests."""
    suite = Suite.model_validate({"name": "benchmark", "tasks": [{"name": case, **TASKS[case]}]})
    (task,) = plan_tasks(suite, suite.tasks, host.registry, data)
    if task.missing:
        raise SystemExit(f"{case}: {task.missing}")
    return task


def ours(model: LanguageModel) -> Side:
    """Answer with tilbench's own engine."""

    def answers(requests: Sequence[Request]) -> list[float]:
        found: dict[Request, Answer] = {}
        for batch in model.answer(list(dict.fromkeys(requests))):
            found.update(batch)
        return [_logprob(found[request]) for request in requests]

    return Side(answers)


def _logprob(answer: Answer) -> float:
    assert isinstance(answer, Likelihood)
    return answer.logprob


def peer(folder: Path, batch: int) -> Side:
    """Answer with lm-evaluation-harness's own model class for Transformers."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    with _quiet():
        model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=batch, max_length=LENGTH)

    def answers(requests: Sequence[Request]) -> list[float]:
        with _quiet():
            if isinstance(requests[0], Document):
                texts = [request.text for request in requests if isinstance(request, Document)]
                rolling = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
                return list(model.loglikelihood_rolling(rolling, disable_tqdm=True))
            pairs = [(each.context, each.continuation) for each in requests if isinstance(each, Continuation)]
            asked = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
            return [logprob for logprob, _ in model.loglikelihood(asked, disable_tqdm=True)]

    return Side(answers)


@contextlib.contextmanager
def _quiet() -> Any:
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def count(requests: Sequence[Request], tokenizer: Tokenizer) -> tuple[int, Trie, int]:
    """Return the tokens of all requests, the trie of what is forwarded, and how many of its states are projected."""
    sequences, wanted = [], []
    for request in requests:
        if isinstance(request, Document):
            ids = [0, *tokenizer.encode(request.text)]
            pieces = [ids[start : start + LENGTH] for start in range(0, len(ids) - 1, LENGTH)]
            sequences += [as_ids(piece[:LENGTH]) for piece in pieces]
            wanted += [range(len(piece)) for piece in pieces]
        elif isinstance(request, Continuation):
            whole = tokenizer.encode(request.context + request.continuation)
            sequences.append(as_ids(whole[:-1]))
            wanted.append(range(len(tokenizer.encode(request.context)) - 1, len(whole) - 1))
    trie = Trie.of(sequences)
    states = {int(path[place]) for path, places in zip(trie.paths, wanted, strict=True) for place in places}
    return sum(map(len, sequences)), trie, len(states)


def ideal(folder: Path, tokens: int, states: int) -> Callable[[], float]:
    """Return a function that times `tokens` forwarded in full rows, and `states` of them projected."""
    from transformers import AutoModelForCausalLM

    load: Any = AutoModelForCausalLM.from_pretrained
    with _quiet():
        model = load(folder, dtype=torch.float32).eval()
    width = 256
    ids = torch.randint(model.config.vocab_size, (-(-tokens // width), width))

    @torch.inference_mode()
    def timed() -> float:
        start = time.perf_counter()
        rows = [model.model(part, use_cache=False)[0].flatten(0, 1) for part in torch.split(ids, 2)]
        hidden: Tensor = torch.cat(rows)[:states]
        for part in torch.split(hidden, 256):
            model.lm_head(part).logsumexp(-1)
        return time.perf_counter() - start

    return timed


def agree(task: PlannedTask, requests: Sequence[Request], one: Sequence[float], other: Sequence[float]) -> bool:
    """Say whether both pick the same choice of every question (of documents: nothing is picked)."""
    place = {request: number for number, request in enumerate(requests)}
    picks = []
    for scores in (one, other):
        asked = [task.requests[row.id] for row in task.rows if isinstance(row, Question)]
        picks.append([int(np.argmax([scores[place[each]] for each in options])) for options in asked])
    return picks[0] == picks[1]


def run_case(case: str, host: Host, data: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """Measure one case."""
    task = plan(host, data, case)
    requests = [request for row in task.rows for request in task.requests[row.id]]
    tokenizer = load_tokenizer(str(folder), registry=host.registry)
    options = OpenOptions(load_tokenizer=lambda reference: tokenizer)
    us = ours(find_model(str(folder), host.registry, folder.parent).open(options))
    us.timed(requests[:8])
    tuned = {batch: peer(folder, batch).timed(requests)[1] for batch in BATCHES}
    best = min(tuned, key=lambda batch: tuned[batch])
    them = peer(folder, best)
    naive, trie, states = count(requests, tokenizer)
    floor = ideal(folder, len(trie), states)
    times: dict[str, list[float]] = {"ours": [], "peer": [], "ideal": []}
    for _ in range(repeats):
        found, seconds = us.timed(requests)
        times["ours"].append(seconds)
        theirs, seconds = them.timed(requests)
        times["peer"].append(seconds)
        times["ideal"].append(floor())
    ours_s, peer_s, ideal_s = (statistics.median(each) for each in times.values())
    return {
        "case": case,
        "requests": len(requests),
        "ours_s": round(ours_s, 3),
        "peer_s": round(peer_s, 3),
        "ratio": round(peer_s / ours_s, 2),
        "tokens_naive": naive,
        "tokens_distinct": len(trie),
        "ideal_s": round(ideal_s, 3),
        "of_ideal": round(ours_s / ideal_s, 2),
        "max_abs_diff": max(abs(one - other) for one, other in zip(found, theirs, strict=True)),
        "max_relative_diff": max(abs(one - other) / abs(other) for one, other in zip(found, theirs, strict=True)),
        "predictions_agree": agree(task, requests, found, theirs),
        "peer_batch": best,
        "peer_by_batch_s": {batch: round(seconds, 2) for batch, seconds in tuned.items()},
        "threads": torch.get_num_threads(),
    }


def run_generation(host: Host, data: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """Measure 64 greedy tokens after each of 32 prompts, against `generate` of Transformers."""
    line = generation_case(folder, data, host=host, repeats=repeats)
    forwarded = line["prompt_tokens"] + line["tokens"]
    return {
        **line,
        "tokens_naive": forwarded,
        "tokens_distinct": forwarded,
        "max_abs_diff": None,
        "predictions_agree": line["predictions_agree"] == 1,
    }


def main() -> None:
    """Run the cases and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="a data directory with text/kk, text/ru and mc/tumlu-kazakh"
    )
    parser.add_argument("--cases", default=",".join([*TASKS, GENERATION]), help="comma-separated")
    parser.add_argument("--shape", default="llama-20m", choices=SHAPES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    host = load_plugins()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / given.shape
        with _quiet():
            texts = [row.text for row in documents("text/kk/train", host.registry, given.data)[1]]
            write_model(folder, texts, SHAPES[given.shape])
        for case in given.cases.split(","):
            if case == GENERATION:
                line = run_generation(host, given.data, folder, given.repeats)
            else:
                line = run_case(case, host, given.data, folder, given.repeats)
            line["shape"] = given.shape
            print(json.dumps(line) if given.json else _readable(line), flush=True)  # noqa: T201


def _readable(line: dict[str, Any]) -> str:
    if line["case"] == GENERATION:
        return (
            f"generation: {line['ratio']}× Transformers ({line['ours_s']} s and {line['peer_s']} s at batch "
            f"{line['peer_batch']}) for {line['tokens']:,} tokens; equal texts: {line['predictions_agree']}"
        )
    return (
        f"{line['case']}: {line['ratio']}× lm-eval ({line['ours_s']} s and {line['peer_s']} s at batch "
        f"{line['peer_batch']}), {line['of_ideal']}× the ideal; {line['tokens_distinct']:,} of "
        f"{line['tokens_naive']:,} tokens; largest difference {line['max_abs_diff']:.1e}; "
        f"predictions agree: {line['predictions_agree']}"
    )


if __name__ == "__main__":
    main()
