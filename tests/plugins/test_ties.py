"""A model that finds everything alike scores chance, whatever is picked, and wherever the right one stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tilbench.data.rows import KINDS, Question, Row
from tilbench.kinds.metric import TaskContext, Value
from tilbench.kinds.requests import Likelihood, Ranked, Request, RequestKind
from tilbench.loader import load_plugins
from tilbench.testing import ToyLanguageModel, toy_language, toy_rows

HOST = load_plugins()
SETTINGS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "choice": [{"form": "letter"}, {"form": "cloze"}, {"form": "hybrid"}],
    "classification": [{"labels": {"even": "жұп", "odd": "тақ"}}],
}
VOCABULARY = 1000


class Alike(ToyLanguageModel):
    """Finds every text as likely as every other, and every word too."""

    def one(self, request: Request) -> Any:
        """Answer one request."""
        if request.kind in (RequestKind.CONTINUATION, RequestKind.DOCUMENT):
            return Likelihood(-7.0, 3)
        if request.kind is RequestKind.NEXT_WORD:
            return Ranked(1, -7.0, 1, tied=VOCABULARY - 1)
        return super().one(request)


def placed(kind: str, place: int) -> list[Row]:
    """Return toy rows; where they have choices, the right one of each stands first or last, and none share a text."""
    rows = toy_rows(kind)
    return [
        replace(row, answer=place % len(row.choices), passage="") if isinstance(row, Question) else row for row in rows
    ]


def values(name: str, settings: Mapping[str, Any], place: int) -> Mapping[str, Value]:
    """Return what a metric makes of answers that tell nothing apart."""
    metric_class = HOST.registry.metrics.get(name)
    metric = metric_class(metric_class.Settings(**settings), TaskContext(language=toy_language()))
    rows = [row for kind in sorted(metric_class.rows) for row in placed(kind, place)]
    model = Alike()
    asked = [(row, [model.one(request) for request in metric.requests(row)]) for row in rows]
    found: Mapping[str, Value] = metric.aggregate([metric.score(row, answers) for row, answers in asked])
    return found


def cases() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every metric on files with each of its ways to pick."""
    for name, metric in HOST.registry.metrics.all():
        if set(metric.rows) <= set(KINDS):
            for settings in SETTINGS.get(name, [{}]):
                yield name, settings


@pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
@pytest.mark.parametrize(("name", "settings"), list(cases()))
def test_knowing_nothing_scores_chance(name: str, settings: Mapping[str, Any], place: int) -> None:
    found = values(name, settings, place)
    plain = [value for label, value in found.items() if label == "acc" and value.chance is not None]
    for value in plain:  # not those divided by length, which tell long texts from short ones
        assert value.value == pytest.approx(value.chance)
    assert bool(plain) == (name in ("choice", "minimal_pairs", "classification"))


def test_a_word_that_is_as_likely_as_all_has_no_good_rank() -> None:
    assert values("probe", {}, 0)["top1"].value == pytest.approx(1 / VOCABULARY)
