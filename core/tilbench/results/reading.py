"""What of a task's texts a model read: counted from its answers row by row, whatever the metric.

The counts of a row stand among its item's numbers, under names of the harness's own, so that the record's `Reading` can
be recomputed from the items. A metric never sees them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from tilbench.kinds.metric import ItemScore
from tilbench.kinds.requests import Answer, Generated, Likelihood, Ranked, Request, Unanswered, split_text
from tilbench.results.record import CONTAMINATED, Reading

__all__ = [
    "LOST_LIMIT",
    "UNANSWERED",
    "fit_notes",
    "joined",
    "metric_scores",
    "misfits",
    "read_row",
    "reading_marks",
    "reading_notes",
    "reading_of",
    "too_lossy",
    "unanswered_row",
]

LOST_LIMIT = 0.01
"""Above this share of lost bytes a likelihood is of another text than was asked for, and a task reads "n/a"."""

_PREFIX = "reading."
"""Begins the names of the harness's own numbers and texts of an item."""
_REASONS = 3
"""Reasons that are told; a reason may name a number of its row."""
UNANSWERED = f"{_PREFIX}unanswered"
"""Name, among the texts of an item, of why the model could not answer its row."""
_Value = TypeVar("_Value", float, str)
_SCORED, _LOST, _CONTEXT, _LOST_CONTEXT, _CUT, _DROPPED, _BARE, _SHORT, _WINDOWED, _TOO_LONG = (
    f"{_PREFIX}{name}"
    for name in (
        "scored_bytes",
        "lost_bytes",
        "context_bytes",
        "lost_context_bytes",
        "cut_tokens",
        "dropped_examples",
        "bare",
        "short_answers",
        "windowed",
        "too_long",
    )
)


def read_row(requests: Sequence[Request], answers: Sequence[Answer]) -> dict[str, float]:
    """Return the counts of a row, by the names they have among its item's numbers; those that are 0 left out.

    Of a row with an unanswered request it is only whether the row is too long for the model. Bytes of scored texts are
    summed over the requests, bytes of contexts over the different contexts. Tokens cut and examples dropped are those
    of the request that lost most, since a row's requests mostly share their context.
    """
    if unanswered := [answer for answer in answers if isinstance(answer, Unanswered)]:
        return {_TOO_LONG: 1.0} if any(answer.too_long for answer in unanswered) else {}
    counts: Counter[str] = Counter()
    contexts: dict[str, int] = {}
    for request, answer in zip(requests, answers, strict=True):
        if not isinstance(answer, Likelihood | Ranked | Generated):
            continue
        context, scored = split_text(request)
        contexts[context] = max(contexts.get(context, 0), answer.lost_context)
        counts[_SCORED] += _bytes(scored)
        counts[_LOST] += answer.lost
        counts[_CUT] = max(counts[_CUT], answer.cut)
        counts[_DROPPED] = max(counts[_DROPPED], answer.dropped)
        if answer.dropped and answer.dropped >= len(getattr(request, "optional", ())):
            counts[_BARE] = 1
        if isinstance(answer, Generated) and answer.short:
            counts[_SHORT] = 1
        if isinstance(answer, Likelihood) and answer.windows > 1:
            counts[_WINDOWED] = 1
    counts[_CONTEXT] = sum(map(_bytes, contexts))
    counts[_LOST_CONTEXT] = sum(contexts.values())
    return {name: float(count) for name, count in counts.items() if count}


def unanswered_row(answers: Iterable[Answer]) -> dict[str, str]:
    """Return, as a text of its item, why a row cannot be scored; nothing where every request was answered."""
    reason = next((answer.reason for answer in answers if isinstance(answer, Unanswered)), None)
    return {} if reason is None else {UNANSWERED: reason}


def reading_of(numbers: Iterable[Mapping[str, float]], texts: Iterable[Mapping[str, str]]) -> Reading | None:
    """Return what the items of a record say was read of its rows; None where they say nothing."""
    rows = list(numbers)
    unanswered = Counter(each[UNANSWERED] for each in texts if UNANSWERED in each)
    if not unanswered and not any(name.startswith(_PREFIX) for row in rows for name in row):
        return None

    def total(name: str) -> int:
        return int(sum(row.get(name, 0) for row in rows))

    return Reading(
        scored_bytes=total(_SCORED),
        lost_bytes=total(_LOST),
        context_bytes=total(_CONTEXT),
        lost_context_bytes=total(_LOST_CONTEXT),
        cut_rows=sum(_CUT in row for row in rows),
        cut_tokens=total(_CUT),
        dropped_rows=sum(_DROPPED in row for row in rows),
        dropped_examples=total(_DROPPED),
        bare_rows=total(_BARE),
        short_rows=total(_SHORT),
        windowed_rows=total(_WINDOWED),
        unanswered=dict(sorted(unanswered.items())),
        too_long_rows=total(_TOO_LONG),
    )


def too_lossy(lost: int, scored: int) -> str:
    """Return, as a reason, that too many of the `scored` bytes are lost; empty where the likelihoods may be used."""
    if lost <= LOST_LIMIT * scored:
        return ""
    return (
        f"the model's tokens do not reproduce {lost / scored:.1%} of the scored text's bytes (the limit is "
        f"{LOST_LIMIT:.0%}), so it would be scored on another text"
    )


def reading_notes(reading: Reading | None) -> list[str]:
    """Return what a reader must know beside every value of a record; nothing where the model read all of it."""
    if reading is None:
        return []
    notes = []
    if reading.lost_bytes:
        share = _share(reading.lost_share)
        notes.append(f"{share} of the scored bytes are not in the model's tokens, and cost 8 bits each")
    if reading.lost_context_bytes:
        notes.append(f"{_share(reading.lost_context_share)} of the contexts' bytes are not in the model's tokens")
    notes += fit_notes(reading)
    reasons = sorted(reading.unanswered.items(), key=lambda each: -each[1])
    notes += [f"{_count(rows, 'row')} left out: {reason}" for reason, rows in reasons[:_REASONS]]
    if rest := reasons[_REASONS:]:
        notes.append(f"{_count(sum(rows for _, rows in rest), 'row')} left out for {len(rest):,} other reasons")
    return notes


def fit_notes(reading: Reading | None) -> list[str]:
    """Return what of the rows did not fit the model: examples, text, room for answers; nothing where all of it did."""
    if reading is None:
        return []
    notes = []
    if reading.dropped_rows:
        rows = _count(reading.dropped_rows, "row")
        bare = f"; {_count(reading.bare_rows, 'row')} kept none" if reading.bare_rows else ""
        notes.append(f"{rows} did not fit: {_count(reading.dropped_examples, 'few-shot example')} left out{bare}")
    if reading.cut_rows:
        rows = _count(reading.cut_rows, "row")
        notes.append(f"{rows} did not fit: {_count(reading.cut_tokens, 'token')} of context cut")
    if reading.short_rows:
        rows = _count(reading.short_rows, "row")
        notes.append(
            f"{rows} did not fit: the prompt leaves fewer tokens than 'max_new_tokens', which may cut the answer short"
        )
    return notes


def misfits(reading: Reading | None) -> list[str]:
    """Return `fit_notes`, and how many rows have no answer because they do not fit."""
    notes = fit_notes(reading)
    if reading is not None and reading.too_long_rows:
        rows = _count(reading.too_long_rows, "row")
        notes.append(f"{rows} did not fit: the instruction leaves no room for an answer")
    return notes


def reading_marks(reading: Reading | None) -> list[str]:
    """Return the few words that stand with a value where the model did not read all of the texts."""
    if reading is None:
        return []
    left_out = sum(reading.unanswered.values())
    fewer = reading.dropped_rows - reading.bare_rows
    marks = {
        f"{_share(reading.lost_share)} of bytes lost": reading.lost_bytes,
        f"{_share(reading.lost_context_share)} of context lost": reading.lost_context_bytes,
        f"{_count(fewer, 'row')} with fewer shots": fewer,
        f"{_count(reading.bare_rows, 'row')} with no examples left": reading.bare_rows,
        f"{_count(reading.cut_rows, 'row')} cut": reading.cut_rows,
        f"{_count(reading.short_rows, 'answer')} cut short": reading.short_rows,
        f"{_count(left_out, 'row')} left out": left_out,
    }
    return [mark for mark, count in marks.items() if count]


def joined(readings: Iterable[Reading | None]) -> Reading | None:
    """Return what was read of several tasks' texts together: the sums of their counts; None where none has any."""
    known = [reading for reading in readings if reading is not None]
    if not known:
        return None
    unanswered: Counter[str] = Counter()
    for reading in known:
        unanswered.update(reading.unanswered)
    counts = {
        name: sum(getattr(reading, name) for reading in known) for name in Reading.model_fields if name != "unanswered"
    }
    return Reading(**counts, unanswered=dict(unanswered))


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 else "< 0.1%"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def metric_scores(items: Iterable[ItemScore]) -> list[ItemScore]:
    """Return the scores that a metric gave the rows of a record: those answered, without the harness's own counts."""
    return [
        ItemScore(each.item, each.cluster, _own(each.values), _own(each.texts))
        for each in items
        if UNANSWERED not in each.texts
    ]


def _own(values: Mapping[str, _Value]) -> dict[str, _Value]:
    return {name: value for name, value in values.items() if name != CONTAMINATED and not name.startswith(_PREFIX)}


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
