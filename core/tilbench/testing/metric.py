"""What every metric must do."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import ClassVar

import pydantic

from tilbench.data.rows import KINDS, Row
from tilbench.errors import ConfigError, TilbenchError
from tilbench.kinds.language import Language
from tilbench.kinds.metric import ItemScore, Metric, MetricClass, TaskContext, Value
from tilbench.kinds.requests import Answer, Request, RequestKind, request_key
from tilbench.testing.base import Conformance, require
from tilbench.testing.toys import ToyLanguageModel, toy_language, toy_rows

__all__ = ["MetricConformance"]


class MetricConformance(Conformance):
    """Checks of a metric on toy rows of every kind that it scores, answered by a deterministic toy model.

    subject: the metric's class. settings: of the task, by default none. examples: rows of its own, in place
    of toy rows. language: of the task.
    """

    settable: ClassVar[tuple[str, ...]] = ("settings",)
    subject: MetricClass
    settings: Mapping[str, object] = {}
    examples: Sequence[Row] = ()
    language: Language | None = None

    def ready(self) -> None:
        """Raise ConfigError where the metric needs settings."""
        self.metric()

    def metric(self) -> Metric:
        """Return the metric, bound afresh. Raises ConfigError where `settings` do not fit."""
        try:
            settings = self.subject.Settings(**self.settings)
        except pydantic.ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "settings"
            raise ConfigError(f"settings.{where}: {fault['msg']}; give it with --set settings.{where}=…") from None
        return self.subject(settings, TaskContext(language=self.language or toy_language()))

    def cases(self) -> list[list[Row]]:
        """Return lists of rows, each of one kind."""
        if self.examples:
            return [list(self.examples)]
        return [toy_rows(kind) for kind in sorted(self.subject.rows)]

    def test_interface(self) -> None:
        """It has every member, scores known kinds of rows, and its settings are closed."""
        unknown = sorted(set(self.subject.rows) - set(KINDS))
        require(self.subject.rows and not unknown, f"rows: {unknown or 'nothing'}; a kind is one of {', '.join(KINDS)}")
        version = self.subject.version
        require(isinstance(version, int) and version >= 1, f"version is {version!r}, not 1 or more")
        metric = self.metric()
        require(isinstance(metric, Metric), "it lacks requests, score, aggregate, headline or version")
        try:
            self.subject.Settings(**self.settings, no_such_setting=1)
        except (pydantic.ValidationError, TilbenchError, TypeError):
            return
        require(False, "Settings accepts a field that does not exist; set extra='forbid'")

    def test_requests_are_deterministic(self) -> None:
        """A row asks the same each time, of any instance, whatever was asked before; and asks something."""
        for rows in self.cases():
            first = [list(self.metric().requests(row)) for row in rows]
            metric = self.metric()
            again = [list(metric.requests(row)) for row in rows[::-1]][::-1]
            for row, one, other in zip(rows, first, again, strict=True):
                require(one, f"row {row.id} asks nothing")
                require(one == other, f"row {row.id} asks something else after other rows")
                for request in one:
                    require(request.kind in RequestKind and request_key(request), f"row {row.id}: not a request")

    def test_batch_composition_does_not_matter(self) -> None:
        """A row scores the same alone, after other rows, and a second time."""
        for rows in self.cases():
            asked = _answered(self.metric(), rows)
            alone = [self.metric().score(row, answers) for row, answers in asked]
            metric = self.metric()
            passes = {
                "after other rows": [metric.score(row, answers) for row, answers in asked],
                "in another order": [metric.score(row, answers) for row, answers in asked[::-1]][::-1],
            }
            for what, found in passes.items():
                for wanted, score in zip(alone, found, strict=True):
                    require(_plain(score) == _plain(wanted), f"row {wanted.item} scores something else {what}")

    def test_item_scores_name_their_rows(self) -> None:
        """A score has its row's id and cluster, and finite numbers."""
        for rows in self.cases():
            for row, score in zip(rows, self._scores(rows), strict=True):
                own = (score.item, score.cluster) == (row.id, row.cluster)
                require(own, f"row {row.id} of cluster {row.cluster} is scored as {score.item} of {score.cluster}")
                require(score.values, f"row {row.id} has no numbers")
                odd = [name for name, value in score.values.items() if not _finite(value)]
                require(not odd, f"row {row.id}: {', '.join(odd)} is no finite number")

    def test_row_order_does_not_matter(self) -> None:
        """The same scores in any order give the same values and intervals."""
        for rows in self.cases():
            scores = self._scores(rows)
            wanted = self.metric().aggregate(scores)
            for seed in range(4):
                shuffled = random.Random(seed).sample(scores, len(scores)) if seed else scores[::-1]
                _require_same(self.metric().aggregate(shuffled), wanted, "in another order of rows")

    def test_item_scores_suffice(self) -> None:
        """Values follow from the item scores alone, written to a file and read back by another instance."""
        for rows in self.cases():
            scores = self._scores(rows)
            metric = self.metric()
            used = [metric.score(row, answers) for row, answers in _answered(metric, rows)]
            wanted = metric.aggregate(used)
            stored = json.loads(json.dumps([_plain(each) for each in scores]))
            read = [ItemScore(*each) for each in stored]
            _require_same(self.metric().aggregate(read), wanted, "from stored scores")

    def test_values_are_what_they_say_they_are_of(self) -> None:
        """A value that says what it is `of` is that ratio of numbers that every item has, and needs no others."""
        for rows in self.cases():
            scores = self._scores(rows)
            values = self.metric().aggregate(scores)
            for name, value in values.items():
                if value.of is None:
                    continue
                used = [number for number in value.of if number]
                missing = [each.item for each in scores if not set(used) <= set(each.values)]
                require(not missing, f"{name} is said to be of {', '.join(used)}, which item {missing[:1]} lacks")
                below = math.fsum(each.values[value.of[1]] if value.of[1] else 1.0 for each in scores)
                above = math.fsum(each.values[value.of[0]] for each in scores)
                same = below and math.isclose(above / below, value.value, rel_tol=1e-9, abs_tol=1e-12)
                require(same, f"{name} is {value.value}, and Σ {value.of[0]} / Σ {value.of[1] or 'items'} is not")

    def test_values_are_sound(self) -> None:
        """Values are finite, lie in their intervals, and say how many rows are behind them."""
        for rows in self.cases():
            values = self.metric().aggregate(self._scores(rows))
            for name, value in values.items():
                require(isinstance(value, Value), f"{name} is {type(value).__name__}, not a Value")
                require(_finite(value.value), f"{name} is {value.value}, which is no finite number")
                require(0 < value.n <= len(rows), f"{name} is said to rest on {value.n} of {len(rows)} rows")
                require(value.direction in ("lower", "higher", "none"), f"{name}: direction {value.direction!r}")
                bounds = [bound for bound in (value.low, value.high) if bound is not None]
                require(len(bounds) in (0, 2), f"{name} has one end of an interval")
                if bounds:
                    slack = 1e-9 * max(1.0, abs(value.value))
                    inside = bounds[0] - slack <= value.value <= bounds[1] + slack
                    interval = f"{bounds[0]:.6g} … {bounds[1]:.6g}"
                    require(inside, f"{name} is {value.value:.6g}, outside its interval {interval}")
                require(value.stderr is None or value.stderr >= 0, f"{name}: standard error {value.stderr}")

    def test_headline_is_a_value(self) -> None:
        """The value shown first is there, with one row as with many."""
        for rows in self.cases():
            metric = self.metric()
            for some in (rows, rows[:1]):
                values = metric.aggregate(self._scores(some))
                there = ", ".join(values) or "nothing"
                require(metric.headline in values, f"{len(some)} rows: no {metric.headline!r} among {there}")

    def _scores(self, rows: Sequence[Row]) -> list[ItemScore]:
        return [self.metric().score(row, answers) for row, answers in _answered(self.metric(), rows)]


def _answered(metric: Metric, rows: Sequence[Row]) -> list[tuple[Row, list[Answer]]]:
    model = ToyLanguageModel()
    asked: list[tuple[Row, Sequence[Request]]] = [(row, metric.requests(row)) for row in rows]
    return [(row, [model.one(request) for request in requests]) for row, requests in asked]


def _plain(score: ItemScore) -> tuple[str, str, dict[str, float], dict[str, str]]:
    return score.item, score.cluster, dict(score.values), dict(score.texts)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _require_same(found: Mapping[str, Value], wanted: Mapping[str, Value], what: str) -> None:
    require(set(found) == set(wanted), f"{what} there are other values: {', '.join(set(found) ^ set(wanted))}")
    for name, value in wanted.items():
        for field in fields(Value):
            one, other = getattr(value, field.name), getattr(found[name], field.name)
            same = one == other
            if isinstance(one, float) and isinstance(other, float):
                same = math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(one) and math.isnan(other))
            require(same, f"{name}: {field.name} is {other} {what}, and {one} else")
