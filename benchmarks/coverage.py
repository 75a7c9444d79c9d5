"""How often the 95% intervals hold the truth, and how often `compare` finds a difference where there is none.

    python benchmarks/coverage.py --data DIR

draws documents from a population whose truth is known, as often as `--resamples` says, and prints a table in Markdown
(docs/statistics.md has it) or lines of JSON. The populations: the held-out documents of `text/<domain>` in DIR under
n-gram models of several orders, and made-up ones with long tails that need no data. With `--effective`, the samples of
each population are split by the effective number of their documents, at the limit below which `compare` warns.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilbench.comparison.paired import ALPHA, Paired, Side, pair, pool
from tilbench.comparison.verdict import FEWEST_EFFECTIVE
from tilbench.kinds.metric import ItemScore
from tilbench.results.macro import macro_score
from tilbench.results.statistics import Interval, mean_interval, proportion_interval, ratio_interval
from tilbench_baselines.counts import count, probabilities

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator], "tuple[Interval | None, float, Paired | None]"]
"""One sample → the interval, the truth, and the comparison of two models that are equally good."""

SIZES = (5, 6, 10, 14, 30, 100)
CLUSTERS = (3, 5, 6, 10, 14, 30, 100)
EFFECTIVE_SIZES = (6, 10, 14, 20, 30, 50, 70, 100)
SIZES_OF_FOUR = (14, 50, 100)


@dataclass(frozen=True)
class Population:
    """Documents: bytes, and the bits of two models, [documents]; `ends` where the groups of documents end."""

    name: str
    bytes: Floats
    a: Floats
    b: Floats

    def groups(self) -> list[NDArray[np.int64]]:
        """Return documents in groups of one to eight, those next to each other alike in the models' difference."""
        order = np.argsort((self.a - self.b) / self.bytes, kind="stable")
        ends = np.cumsum(np.random.default_rng(1).integers(1, 9, len(order)))
        return [order[start:end] for start, end in pairwise([0, *ends.tolist()]) if start < len(order)]


def made_up(seed: int = 0, documents: int = 4000) -> Population:
    """Return documents with log-normal lengths and skewed rates, where long documents are easier."""
    generator = np.random.default_rng(seed)
    size = np.round(np.exp(generator.normal(7, 0.5, documents)))
    hard = np.exp(generator.normal(0, 0.25, documents)) * (size / 1100) ** -0.05
    rate = 0.9 + 0.4 * hard
    return Population("made up", size, size * rate, size * (rate + 0.03 * generator.gamma(1.5, 1, documents)))


def real(data: Path, domain: str, first: int, second: int, train: int = 600) -> Population:
    """Return the held-out documents of a domain under n-gram models of two orders."""
    texts = {}
    for split in ("train", "heldout"):
        with gzip.open(data / "text" / domain / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            texts[split] = [json.loads(line)["text"] for line in file]
    models = [count(texts["train"][:train], order) for order in (first, second)]
    bits = [[-np.log2(probabilities(model, "", text)).sum() for text in texts["heldout"]] for model in models]
    size = [float(len(text.encode())) for text in texts["heldout"]]
    return Population(f"{domain}, {first}- and {second}-grams", np.array(size), np.array(bits[0]), np.array(bits[1]))


def names(sizes: Sequence[int]) -> list[str]:
    """Return a cluster's name for each row, given the rows of each cluster."""
    return [str(cluster) for cluster, size in enumerate(sizes) for _ in range(size)]


def bits_per_byte(people: Population, count: int, *, grouped: bool) -> Draw:
    """Draw documents, or groups of them: the interval of one model, and two models made equally good."""
    groups = people.groups() if grouped else [np.array([place]) for place in range(len(people.bytes))]
    truth = people.a.sum() / people.bytes.sum()
    gap = (people.a - people.b).sum() / people.bytes.sum()

    def draw(generator: np.random.Generator) -> tuple[Interval | None, float, Paired | None]:
        chosen = [groups[place] for place in generator.integers(0, len(groups), count)]
        rows, clusters = np.concatenate(chosen), names([len(group) for group in chosen])
        size, a, b = people.bytes[rows], people.a[rows], people.b[rows] + gap * people.bytes[rows]
        paired = pair(Side(a.tolist(), size.tolist()), Side(b.tolist(), size.tolist()), clusters)
        return ratio_interval(a.tolist(), size.tolist(), clusters), truth, paired

    return draw


def means(count: int, *, grouped: bool) -> Draw:
    """Draw scores such as F1: a third of them 0, the others anywhere up to 1; questions on a text are alike."""

    def draw(generator: np.random.Generator) -> tuple[Interval | None, float, Paired | None]:
        sizes = generator.integers(1, 6, count) if grouped else np.ones(count, dtype=np.int64)
        level = np.repeat(generator.beta(2, 2, count), sizes) if grouped else np.full(sizes.sum(), 0.5)
        sides = [(generator.random(len(level)) > 1 / 3) * generator.random(len(level)) * 2 * level for _ in "ab"]
        clusters, ones = names(sizes.tolist()), [1.0] * len(level)
        paired = pair(Side(sides[0].tolist(), ones), Side(sides[1].tolist(), ones), clusters)
        return mean_interval(sides[0].tolist(), clusters), 1 / 3, paired

    return draw


def shares(chance: float, count: int, *, grouped: bool) -> Draw:
    """Draw right and wrong answers of two models, of equal chances; questions on a text are alike."""

    def draw(generator: np.random.Generator) -> tuple[Interval | None, float, Paired | None]:
        sizes = generator.integers(1, 6, count) if grouped else np.ones(count, dtype=np.int64)
        level = generator.beta(3 * chance, 3 * (1 - chance), count) if grouped else np.full(count, chance)
        of_row = np.repeat(level, sizes)
        sides = [(generator.random(len(of_row)) < of_row).astype(float).tolist() for _ in "ab"]
        clusters, ones = names(sizes.tolist()), [1.0] * len(of_row)
        return (
            proportion_interval(sides[0], clusters),
            chance,
            pair(Side(sides[0], ones), Side(sides[1], ones), clusters),
        )

    return draw


def several(people: Population, count: int, tasks: int = 4) -> Draw:
    """Draw several tasks: the interval of their mean, and the verdict on the mean of the differences."""
    truth = people.a.sum() / people.bytes.sum()
    gap = truth - people.b.sum() / people.bytes.sum()
    clusters = names([1] * count)

    def draw(generator: np.random.Generator) -> tuple[Interval | None, float, Paired | None]:
        parts, found = [], []
        for place in range(tasks):
            rows = generator.integers(0, len(people.bytes), count)
            size, bits = people.bytes[rows], people.a[rows]
            a = Side(bits.tolist(), size.tolist())
            interval = ratio_interval(a.above, a.below, clusters)
            paired = pair(a, Side((people.b[rows] + gap * size).tolist(), a.below), clusters)
            assert interval is not None
            assert paired is not None
            values = {"value": a.ratio, "n": float(count), **asdict(interval)}
            parts.append(ItemScore(str(place), str(place), values))
            found.append((str(place), paired))
        score = macro_score(parts, "", "lower")
        assert score.low is not None
        assert score.high is not None
        assert score.stderr is not None
        return Interval(score.low, score.high, score.stderr), truth, pool(found)

    return draw


def cases(populations: Sequence[Population]) -> Iterator[tuple[str, str, bool, int, Draw]]:
    """Yield what is estimated, from what, whether in clusters, how many rows or clusters, and how it is drawn."""
    for people in populations:
        for grouped, sizes in ((False, SIZES), (True, CLUSTERS)):
            for size in sizes:
                yield "bits per byte", people.name, grouped, size, bits_per_byte(people, size, grouped=grouped)
    for grouped, sizes in ((False, SIZES), (True, CLUSTERS)):
        for size in sizes:
            yield "mean", "scores from 0 to 1", grouped, size, means(size, grouped=grouped)
            for chance in (0.25, 0.5, 0.8):
                yield "share", f"{chance:.0%} right", grouped, size, shares(chance, size, grouped=grouped)
    for size in SIZES:
        yield "mean of 4 tasks", populations[-1].name, False, size, several(populations[-1], size)


@dataclass
class Tally:
    """Samples, and how many of them have an interval, one that holds the truth, and a winner where there is none."""

    samples: int = 0
    intervals: int = 0
    held: int = 0
    named: int = 0

    def add(self, interval: Interval | None, truth: float, paired: Paired | None) -> None:
        """Count one sample."""
        self.samples += 1
        if interval is not None:
            self.intervals += 1
            self.held += interval.low <= truth <= interval.high
        self.named += paired is not None and not paired.identical and not paired.too_few and paired.p < ALPHA

    @property
    def shares(self) -> dict[str, float]:
        """The shares of intervals that hold the truth, and of samples that name a winner."""
        return {"coverage": self.held / self.intervals, "false": self.named / self.samples}


def measure(draw: Draw, resamples: int, seed: int) -> Tally:
    """Return the tally of samples of one case."""
    generator, tally = np.random.default_rng(seed), Tally()
    for _ in range(resamples):
        tally.add(*draw(generator))
    return tally


def by_effective_number(draws: Sequence[Draw], resamples: int) -> tuple[Tally, Tally]:
    """Return the tallies of the samples that `compare` warns of, and of the others."""
    tallies = Tally(), Tally()
    for seed, draw in enumerate(draws):
        generator = np.random.default_rng(seed)
        for _ in range(resamples):
            interval, truth, paired = draw(generator)
            if paired is not None:
                tallies[paired.effective >= FEWEST_EFFECTIVE].add(interval, truth, paired)
    return tallies


def effective_cases(populations: Sequence[Population]) -> Iterator[tuple[str, str, list[Draw]]]:
    """Yield what is estimated, the texts, and draws of documents, of clusters of them, and of four tasks."""
    texts: dict[str, list[Population]] = {}
    for each in populations:
        texts.setdefault(each.name.partition(",")[0], []).append(each)
    for name, alike in texts.items():
        kinds = [(each, grouped) for each in alike for grouped in (False, True)]
        alone = [bits_per_byte(each, size, grouped=grouped) for each, grouped in kinds for size in EFFECTIVE_SIZES]
        yield "bits per byte", name, alone
        yield "mean of 4 tasks", name, [several(each, size) for each in alike for size in SIZES_OF_FOUR]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with text/<domain>/{train,heldout}.jsonl.gz")
    parser.add_argument("--domains", default="kk,kk-reviews", help="domains of the folder")
    parser.add_argument("--resamples", type=int, default=4000)
    parser.add_argument("--effective", action="store_true", help="split samples by the effective number of documents")
    parser.add_argument("--json", action="store_true", help="print lines of JSON")
    given = parser.parse_args()
    populations = [made_up()]
    if given.data:
        orders = ((6, 4), (3, 5))
        populations += [real(given.data, domain, *pair) for domain in given.domains.split(",") for pair in orders]
    lines = (
        effective_lines(populations, given.resamples) if given.effective else all_lines(populations, given.resamples)
    )
    for place, line in enumerate(lines):
        sys.stdout.write(json.dumps(line) + "\n" if given.json else markdown(line, head=place == 0))
        sys.stdout.flush()


def all_lines(populations: Sequence[Population], resamples: int) -> Iterator[dict[str, object]]:
    """Yield a line for each estimate, population and size."""
    for place, (what, of, grouped, size, draw) in enumerate(cases(populations)):
        yield {"case": what, "of": of, "grouped": grouped, "size": size} | measure(draw, resamples, place).shares


def effective_lines(populations: Sequence[Population], resamples: int) -> Iterator[dict[str, object]]:
    """Yield a line for each estimate and text below the limit of the effective number, and one from the limit on."""
    for what, of, draws in effective_cases(populations):
        for warned, tally in zip((True, False), by_effective_number(draws, resamples), strict=True):
            if tally.intervals:
                yield {"case": what, "of": of, "warned": warned, "samples": tally.samples} | tally.shares


def markdown(line: dict[str, object], *, head: bool) -> str:
    """Return a line of the table; `head` puts the heads of its columns before it."""
    cells = [f"{cell:.1%}" if isinstance(cell, float) else str(cell) for cell in line.values()]
    rows = [list(line), ["---"] * len(line), cells] if head else [cells]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    main()
