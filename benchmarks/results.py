"""The tables of docs/results.md, from the records in leaderboard/records/tiny.

    python benchmarks/results.py

prints them as Markdown. A test holds that the document has them as they are printed: no number in it is typed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tilbench.comparison.compare import compare_models
from tilbench.comparison.verdict import verdict
from tilbench.kinds.metric import Value
from tilbench.results.markdown import table
from tilbench.results.record import Record
from tilbench.results.store import RecordStore
from tilbench.results.wording import format_interval, format_number

RECORDS = Path(__file__).parents[1] / "leaderboard" / "records" / "tiny"
TEXTS = {
    "kk": ("kazakh", "bpb-kk"),
    "tr": ("turkish", "bpb-tr"),
    "en": ("english-italian", "bpb-en"),
    "it": ("english-italian", "bpb-it"),
    "ru": ("five-domain", "bpb-ru"),
    "code": ("five-domain", "bpb-code"),
    "math": ("five-domain", "bpb-math"),
    "macro": ("five-domain", "macro"),
}
EXAMS = (
    ("kazakh", "tumlu-kk-letter"),
    ("kazakh", "tumlu-kk-cloze"),
    ("turkish", "tumlu-tr-letter"),
    ("turkish", "tumlu-tr-cloze"),
)
FERTILITY = {
    "kk": ("kazakh", "fertility-kk"),
    "tr": ("turkish", "fertility-tr"),
    "it": ("english-italian", "fertility-it"),
    "en": ("english-italian", "fertility-en"),
}
ENGLISH = {
    "next word, 1/rank": ("english-python", "probe-en"),
    "answers, bits/byte": ("english-python", "instruction-en"),
    "verdict": ("english-python", "verdict"),
}
OWN = {
    "til-mini-1b": ("kazakh", "bpb-kk"),
    "gemma-3-kazakh-qlora": ("kazakh", "bpb-kk"),
    "1gpu-small-en-it": ("english-italian", "bpb-it"),
    "turkish-v1": ("turkish", "bpb-tr"),
    "turkish-v2": ("turkish", "bpb-tr"),
    "auto-g-nano-1b": ("five-domain", "bpb-code"),
}
"""Model → the text of its own that the last tables look at."""
PAIRS = (
    ("turkish", "bpb-tr", "turkish-v1", "turkish-v2"),
    ("turkish", "tumlu-tr-cloze", "turkish-v1", "turkish-v2"),
    ("kazakh", "bpb-kk", "til-mini-1b", "gemma-3-kazakh-qlora"),
    ("kazakh", "tumlu-kk-cloze", "til-mini-1b", "gemma-3-kazakh-qlora"),
    ("english-italian", "bpb-en", "1gpu-small-en-it", "auto-g-nano-1b"),
)


def short(name: str) -> str:
    """Return a model's name without the folder of its run."""
    return name.removeprefix("runs/").replace("-tiny", "")


class Results:
    """The records by (suite, task, model)."""

    def __init__(self, folder: Path) -> None:
        self.store = RecordStore(folder)
        self._records = {
            (record.task.suite, record.task.name, short(record.model.name)): record
            for _, record in self.store.records()
            if record.status == "done"
        }

    def models(self, of: Callable[[str], bool] = lambda _: True) -> list[str]:
        """Return the models that satisfy `of`, trained ones first, baselines last."""
        names = {model for _, _, model in self._records if of(model)}
        trained = [name for name in OWN if name in names]
        rest = sorted(names - set(trained), key=lambda name: ("@" not in name, name))
        return [*trained, *rest]

    def record(self, task: tuple[str, str], model: str) -> Record | None:
        """Return a record, if there is one."""
        return self._records.get((*task, model))

    def score(self, task: tuple[str, str], model: str, value: str = "") -> Value | None:
        """Return a value of a record (the headline, if none is named)."""
        record = self.record(task, model)
        return None if record is None else record.values.get(value or record.task.headline)


def shown(score: Value | None, *, interval: bool = True) -> str:
    """Return a score with its interval; a dash where there is none."""
    if score is None:
        return "–"
    return f"{format_number(score)} {format_interval(score) if interval else ''}".rstrip()


def texts(results: Results) -> str:
    """Return bits per byte of every model on every text."""
    rows = [
        [model, *(shown(results.score(task, model)) for task in TEXTS.values())]
        for model in results.models()
        if any(results.score(task, model) for task in TEXTS.values())
    ]
    return "\n".join(table(["model", *TEXTS], rows))


def exams(results: Results) -> str:
    """Return accuracies under chance and what the commonest answer scores."""
    models = results.models(lambda name: any(results.score(task, name) for task in EXAMS))
    majority = ["always the commonest", *(shown(results.score(task, models[0], "majority")) for task in EXAMS)]
    rows = [[model, *(shown(results.score(task, model)) for task in EXAMS)] for model in models]
    return "\n".join(table(["model", *(f"{suite} {task}" for suite, task in EXAMS)], [majority, *rows]))


def answers(results: Results) -> str:
    """Return what the models make of English prompts and instructions."""
    models = results.models(lambda name: results.score(ENGLISH["verdict"], name) is not None)
    rows = [[model, *(shown(results.score(task, model)) for task in ENGLISH.values())] for model in models]
    return "\n".join(table(["model", *ENGLISH], rows))


def fertility(results: Results) -> str:
    """Return tokens per word of each model's tokenizer."""
    rows = [
        [model, *(shown(results.score(task, model), interval=False) for task in FERTILITY.values())]
        for model in results.models(lambda name: name in OWN)
    ]
    return "\n".join(table(["tokenizer of", *FERTILITY], rows))


def explained(results: Results) -> str:
    """Return what the tokenizer alone and what training took off the 8 bits of a uniform byte."""
    rows = []
    for model, task in OWN.items():
        trained, untrained = results.score(task, model), results.score(task, f"{model}@0")
        if trained is None or untrained is None:
            continue
        by_tokenizer = (8 - untrained.value) / (8 - trained.value)
        rows.append([model, " ".join(task), shown(untrained), shown(trained), f"{by_tokenizer:.0%}"])
    return "\n".join(table(["model", "text", "untrained", "trained", "of the gain, the tokenizer's"], rows))


def pairs(results: Results) -> str:
    """Return what the paired tests say."""
    lines = []
    for suite, task, a, b in PAIRS:
        records = [results.record((suite, task), model) for model in (a, b)]
        assert records[0] is not None
        assert records[1] is not None
        ours, theirs = (f"{each.model.name}#{each.model.fingerprint}" for each in records if each is not None)
        found = compare_models(results.store, ours, theirs, suite=suite, tasks=[task])
        said = verdict(found, found.tasks[0]).replace("runs/", "").replace("-tiny", "")
        lines.append(f"- {suite} / {task}, {a} and {b}: {said}.")
    return "\n".join(lines)


def tables(folder: Path = RECORDS) -> Iterator[str]:
    """Yield everything that the document shows."""
    results = Results(folder)
    for make in (texts, explained, fertility, exams, answers, pairs):
        yield make(results)


if __name__ == "__main__":
    sys.stdout.write("\n\n".join(tables()) + "\n")
