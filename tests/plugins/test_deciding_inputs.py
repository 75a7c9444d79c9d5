"""Whatever changes what a task asks or what its answers amount to changes the task's fingerprint.

Records are compared, reused and put into one column by fingerprint alone. So of every registered metric each input is
changed, one at a time: settings, the task's language, other languages that are installed, rows, examples, shots, seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pydantic
import pytest

from tilbench.config.suite import Suite
from tilbench.data.rows import KINDS, Conversation, Row
from tilbench.errors import MissingDependency, Refused, TilbenchError
from tilbench.evaluation.plan import PlannedTask, plan_tasks
from tilbench.kinds.language import CardWords, Language
from tilbench.kinds.requests import Answer, Generated, Generation, Request, request_key
from tilbench.loader import Host, load_plugins
from tilbench.registry import Entry, Origin, Registry
from tilbench.testing import ToyLanguageModel, toy_rows

HOST: Host = load_plugins()
TAG = "kk-Cyrl"
SETTINGS: Mapping[str, Mapping[str, Any]] = {"classification": {"labels": {"even": "жұп", "odd": "тақ"}}}
"""Settings that a metric cannot do without."""
METRICS = [name for name in HOST.registry.metrics.names() if set(HOST.registry.metrics.get(name).rows) <= set(KINDS)]
WRITTEN = (
    "Бүгін ауа райы жылы болады, кешке қарай жаңбыр жауады деп күтілуде.",
    "Сегодня будет тёплая погода, а к вечеру ожидается сильный дождь с грозой.",
    "Бүгүн аба ырайы жылуу болот, кечинде жаан жаары күтүлүүдө.",
    "Bugün hava sıcak olacak, akşama doğru yağmur bekleniyor. Hava hava hava hava hava hava hava.",
)


class Writer(ToyLanguageModel):
    """Continues prompts in four languages."""

    def one(self, request: Request) -> Answer:
        """Answer one request."""
        if isinstance(request, Generation):
            place = int(request_key(request)[:8], 16) % len(WRITTEN)
            return Generated(WRITTEN[place], 12, complete=place % 2 == 0)
        return super().one(request)


def plain(row: Row) -> dict[str, Any]:
    """Return a row as a line of a file."""
    raw = asdict(row)
    if isinstance(row, Conversation):
        raw["messages"] = [{"role": role, "content": content} for role, content in row.messages]
    return raw


class Inputs:
    """Everything that one task of a metric is made of, each part of which can be replaced."""

    def __init__(self, metric: str, folder: Path) -> None:
        self.metric, self.folder = metric, folder
        kind = sorted(HOST.registry.metrics.get(metric).rows)[0]
        everything = [plain(row) for row in toy_rows(kind, 12)]
        self.kind, self.rows, self.examples = kind, everything[:8], everything[8:]
        self.settings: dict[str, Any] = dict(SETTINGS.get(metric, {}))
        self.shots, self.seed, self.language = 2, 0, TAG
        self.languages: dict[str, Language] = dict(HOST.registry.languages.all())

    def plan(self) -> PlannedTask:
        """Plan the task. Raises TilbenchError where its parts do not go together."""
        for name, rows in (("rows", self.rows), ("examples", self.examples)):
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            (self.folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        registry = Registry()
        for entry in HOST.registry.metrics.entries():
            registry.metrics.add(entry)
        for tag, language in self.languages.items():
            registry.languages.add(Entry(tag, language, "", "test", "test", Origin(__file__, 1)))
        suite = Suite.model_validate(
            {
                "name": "s",
                "seed": self.seed,
                "tasks": [
                    {
                        "name": "t",
                        "metric": self.metric,
                        "dataset": {"path": str(self.folder / "rows.jsonl"), "kind": self.kind},
                        "examples": {"path": str(self.folder / "examples.jsonl"), "kind": self.kind},
                        "language": self.language,
                        "shots": self.shots,
                        "settings": self.settings,
                    }
                ],
            }
        )
        (task,) = plan_tasks(suite, suite.tasks, registry, None)
        return task


def outcome(task: PlannedTask) -> tuple[Any, ...]:
    """Return what a task asks, what each row scores, and what these amount to."""
    assert task.metric is not None
    model = Writer()
    scores = [task.metric.score(row, [model.one(each) for each in task.requests[row.id]]) for row in task.rows]
    try:
        values: Any = task.metric.aggregate(scores)
    except Refused as error:
        values = str(error)
    return task.requests, scores, values


_TRIED = (True, False, 1, 3, 0.3, 0.7, "x", "Тапсырма", ["#"], [TAG], ")", ".", "none", "char", "cloze", "hybrid")


def other_settings(inputs: Inputs) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield settings that differ from the inputs' own in one field, for every field that has another valid value."""
    schema = HOST.registry.metrics.get(inputs.metric).Settings
    for name in schema.model_fields:
        for value in _TRIED:
            changed = {**inputs.settings, name: value}
            try:
                schema(**changed)
            except (pydantic.ValidationError, TilbenchError, TypeError):
                continue
            yield f"settings.{name} = {value!r}", changed


def other_languages(language: Language) -> Iterator[tuple[str, Language]]:
    """Yield languages that differ from one in one field."""
    for cue in fields(language.cues):
        old = getattr(language.cues, cue.name)
        new = old[::-1] if cue.name == "letters" else f"{old}х"
        yield f"cues.{cue.name}", replace(language, cues=replace(language.cues, **{cue.name: new}))
    card = CardWords(
        **{field.name: "x" for field in fields(CardWords)},
    )
    changes: Mapping[str, Any] = {
        "name": "Other",
        "native_name": "Басқа",
        "script": "Latn",
        "alphabet": language.alphabet[:9],
        "domain": True,
        "profile": HOST.registry.languages.get("tr-Latn").profile,
        "card": card,
    }
    for name, value in changes.items():
        yield name, replace(language, **{name: value})


def other_rows(rows: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield rows of which one field of the first row, or the order, or the number is another."""
    yield "order", rows[::-1]
    yield "number", rows[1:]
    for name, value in rows[0].items():
        if isinstance(value, str):
            yield name, [{**rows[0], name: f"{value} тағы"}, *rows[1:]]
        if isinstance(value, int):
            yield name, [{**rows[0], name: 0 if value else 1}, *rows[1:]]
        if isinstance(value, list | tuple) and isinstance(value[0], str):
            yield name, [{**rows[0], name: [*value[:-1], f"{value[-1]} тағы"]}, *rows[1:]]


def changes(inputs: Inputs) -> Iterator[tuple[str, str, Any]]:
    """Yield every change: what is changed, the part of the inputs, and its new content."""
    yield "seed", "seed", 1
    yield "shots", "shots", 1
    yield "no shots", "shots", 0
    for what, settings in other_settings(inputs):
        yield what, "settings", settings
    for part in ("rows", "examples"):
        for what, rows in other_rows(getattr(inputs, part)):
            yield f"{part}: {what}", part, rows
    installed = inputs.languages
    for tag in (TAG, "ru-Cyrl"):
        for what, language in other_languages(installed[tag]):
            yield f"{tag}: {what}", "languages", {**installed, tag: language}
    yield "another language of the task", "language", "tr-Latn"
    for tag in ("ru-Cyrl", "ky-Cyrl", "tr-Latn"):
        yield f"without {tag}", "languages", {each: found for each, found in installed.items() if each != tag}
    new = replace(installed["tr-Latn"], tag="gag-Latn", name="Gagauz", native_name="Gagauz dili")
    yield "one more language", "languages", {**installed, new.tag: new}


@pytest.mark.parametrize("metric", METRICS)
def test_what_changes_a_task_changes_its_fingerprint(metric: str, tmp_path: Path) -> None:
    inputs = Inputs(metric, tmp_path)
    try:
        base = inputs.plan()
    except MissingDependency as error:
        pytest.skip(str(error))
    before = outcome(base)
    told: dict[str, bool] = {}
    for what, part, content in changes(inputs):
        old = getattr(inputs, part)
        setattr(inputs, part, content)
        try:
            changed = inputs.plan()
        except TilbenchError:
            continue  # nothing is scored, so nothing can be confused
        finally:
            setattr(inputs, part, old)
        if outcome(changed) != before:
            told[what] = changed.used.fingerprint != base.used.fingerprint
    assert inputs.plan().used.fingerprint == base.used.fingerprint, "the same task twice"
    assert [what for what, other in told.items() if not other] == []
    assert any(what.startswith("rows: ") for what in told), "no change showed: the test could not fail"


def test_every_metric_on_files_is_looked_at() -> None:
    """Those that are not read documents of their own, and state their settings from them."""
    assert set(HOST.registry.metrics.names()) - set(METRICS) == {"lm_eval"}


@pytest.mark.parametrize("metric", METRICS)
def test_another_library_is_another_task(metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a metric states beside the inputs above counts, such as the version of the tool that tells languages."""
    try:
        before = Inputs(metric, tmp_path).plan()
    except MissingDependency as error:
        pytest.skip(str(error))
    monkeypatch.setattr("tilbench.text.language_id.tool", lambda: "another tool 9.9")
    after = Inputs(metric, tmp_path).plan()
    stated = hasattr(before.metric, "deciding")
    assert (before.used.fingerprint != after.used.fingerprint) == stated
    assert stated == (metric in ("behavior", "translation", "verdict"))
