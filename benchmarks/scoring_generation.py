"""Greedy generation by tilbench against `generate` of Transformers: the same folder, prompts, machine and run.

    python benchmarks/scoring_generation.py FOLDER --data DIR

Both begin with text and end with text. The peer pads on the left; its batch size, and whether its prompts are sorted by
length, are tuned first on the whole case. Then the two take turns, and medians are compared.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tilbench.config.decoding import Decoding
from tilbench.kinds.language_model import OpenOptions
from tilbench.kinds.requests import Generated, Generation
from tilbench.loader import Host, load_plugins
from tilbench.resolve.datasets import documents
from tilbench.resolve.models import find_model
from tilbench.resolve.tokenizers import load_tokenizer

__all__ = ["generation_case"]

BATCHES = (8, 16, 32)
SHORTEST, LONGEST = 8, 200

Texts = list[str]


def generation_case(
    folder: Path,
    data_dir: Path,
    *,
    host: Host | None = None,
    prompts: int = 32,
    new_tokens: int = 64,
    repeats: int = 3,
    dataset: str = "text/kk/heldout",
) -> dict[str, Any]:
    """Return the times of both on the beginnings of real texts, and the share of equal texts (predictions_agree)."""
    host = host or load_plugins()
    tokenizer = load_tokenizer(str(folder), registry=host.registry)
    texts = [document.text for document in documents(dataset, host.registry, data_dir)[1]]
    asked = _beginnings(tokenizer, texts, prompts)
    options = OpenOptions(load_tokenizer=partial(load_tokenizer, registry=host.registry))
    model = find_model(str(folder), host.registry, Path("runs")).open(options)
    requests = [Generation(prompt, Decoding(max_new_tokens=new_tokens)) for prompt in asked]
    counts: list[int] = []

    def ours() -> Texts:
        found = dict(pair for batch in model.answer(requests) for pair in batch)
        answers = [found[request] for request in requests]
        counts[:] = [answer.tokens for answer in answers if isinstance(answer, Generated)]
        return [answer.text for answer in answers if isinstance(answer, Generated)]

    peer = _peer(folder, asked, new_tokens)
    ours()  # what is done once is done before
    tuned = {
        (rows, ordered): _seconds(partial(peer, rows, ordered))[0] for rows in BATCHES for ordered in (False, True)
    }
    rows, ordered = min(tuned, key=lambda each: tuned[each])
    mine, theirs = [], []
    for _ in range(repeats):
        seconds, written = _seconds(ours)
        mine.append(seconds)
        seconds, expected = _seconds(partial(peer, rows, ordered))
        theirs.append(seconds)
    ours_s, peer_s = statistics.median(mine), statistics.median(theirs)
    return {
        "case": "generation",
        "ours_s": round(ours_s, 3),
        "peer_s": round(peer_s, 3),
        "ratio": round(peer_s / ours_s, 3),
        "tokens": sum(counts),
        "predictions_agree": sum(one == other for one, other in zip(written, expected, strict=True)) / prompts,
        "prompts": prompts,
        "prompt_tokens": sum(len(tokenizer.encode(prompt)) for prompt in asked),
        "peer_batch": rows,
        "peer_sorted": ordered,
        "ours_all_s": [round(each, 3) for each in mine],
        "peer_all_s": [round(each, 3) for each in theirs],
        "threads": torch.get_num_threads(),
    }


def _beginnings(tokenizer: Any, texts: Sequence[str], count: int) -> Texts:
    """Return beginnings of texts, of 8 to 200 tokens, the same for every run."""
    draw = random.Random(0)
    found: Texts = []
    for text in texts:
        ids = tokenizer.encode(text[: 20 * LONGEST])
        if len(ids) >= LONGEST:
            found.append(tokenizer.decode(ids[: draw.randint(SHORTEST, LONGEST)]).rstrip("\ufffd"))
        if len(found) == count:
            return found
    raise SystemExit(f"{len(found)} texts of {LONGEST} tokens or more, and {count} are needed")


def _peer(folder: Path, prompts: Sequence[str], new_tokens: int) -> Callable[[int, bool], Texts]:
    """Return a function that generates with Transformers in batches of so many rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # imports warn of other people's deprecations
        from transformers import AutoModelForCausalLM, AutoTokenizer
    load: Any = AutoTokenizer.from_pretrained
    tokenizer = load(folder, padding_side="left")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    read: Any = AutoModelForCausalLM.from_pretrained
    model = read(folder, dtype=torch.float32).eval()

    def run(rows: int, ordered: bool) -> Texts:
        lengths = [len(ids) for ids in tokenizer(list(prompts))["input_ids"]]
        places = sorted(range(len(prompts)), key=lambda place: -lengths[place] if ordered else place)
        found = [""] * len(prompts)
        for start in range(0, len(places), rows):
            chosen = places[start : start + rows]
            inputs = tokenizer([prompts[place] for place in chosen], return_tensors="pt", padding=True)
            inputs.pop("token_type_ids", None)
            with torch.inference_mode():
                ids = model.generate(
                    **inputs, max_new_tokens=new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
                )
            texts = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            for place, text in zip(chosen, texts, strict=True):
                found[place] = text
        return found

    return run


def _seconds(work: Callable[[], Texts]) -> tuple[float, Texts]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a model in the layout of Transformers")
    parser.add_argument("--data", type=Path, required=True, help="data directory")
    given = parser.parse_args()
    print(json.dumps(generation_case(given.folder, given.data)))  # noqa: T201
