"""Choice of plausible alternatives: a premise and two sentences, one of which is its cause or its effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tilbench.data.dataset import Dataset
from tilbench.errors import DataError

__all__ = ["Connected", "cause_datasets"]

_DOTTED = {"İ": "i", "I": "ı"}
"""What `str.lower` does not know of Turkish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """Joins a premise and the connective that asks for a cause or an effect; the choices go on with it.

    `Yer ıslandı.` and the cause `Yağmur yağdı.` become `Yer ıslandı çünkü` and `yağmur yağdı.`: the scheme of
    lm-evaluation-harness's xcopa. A choice begins with a small letter, in Turkish the Turkish one.

    premise, choices, asks_for, answer: columns of the source; `asks_for` holds `cause` or `effect`.
    cause, effect: the connectives, with what stands between them and the premise. small: capital letter → small
    letter, where the language has its own. Raises DataError for rows without these columns or with another `asks_for`.
    """

    premise: str
    choices: tuple[str, str]
    asks_for: str
    answer: str
    cause: str
    effect: str
    small: tuple[tuple[str, str], ...] = ()

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, object]]:
        """Return rows with id, question, choices and answer."""
        return [self._question(row) for row in rows]

    def _question(self, row: Mapping[str, Any]) -> Mapping[str, object]:
        for column in (self.premise, *self.choices, self.asks_for, self.answer):
            if row.get(column) in (None, ""):
                raise DataError(f"row {row.get('id')!r} has no {column!r}; has {', '.join(row)}")
        connectives = {"cause": self.cause, "effect": self.effect}
        if (asked := row[self.asks_for]) not in connectives:
            raise DataError(f"row {row['id']!r}: {self.asks_for!r} is {asked!r}, not cause or effect")
        return {
            "id": row["id"],
            "question": row[self.premise].strip().removesuffix(".") + connectives[asked],
            "choices": [self._continued(row[column].strip()) for column in self.choices],
            "answer": row[self.answer],
        }

    def _continued(self, sentence: str) -> str:
        first = sentence[:1]
        return dict(self.small).get(first, first.lower()) + sentence[1:]


def cause_datasets() -> Iterator[tuple[str, Dataset]]:
    """Yield name and dataset of XCOPA in Turkish and Italian, and of kkCOPA."""
    yield "xcopa/tr", _xcopa("tr-Latn", "Turkish", " çünkü", " bu yüzden", tuple(_DOTTED.items()))
    yield "xcopa/it", _xcopa("it-Latn", "Italian", " perché", " quindi")
    kazakh = Connected(
        premise="p_contents_kz",
        choices=("a1_contents_kz", "a2_contents_kz"),
        asks_for="asks-for_eng",
        answer="correct_answers",
        cause=", себебі",  # in Kazakh a comma stands before both
        effect=", сондықтан",
    )
    yield (
        "kk_copa",
        Dataset(
            kind="questions",
            language="kk-Cyrl",
            answers_from=1,
            prepare=kazakh,
            citation="akylbekmaxutov/LLM-eval-using-Kazakh; ISSAI, LLM_Eval_Using_Kazakh",
            summary=(
                "kkCOPA: the 500 premises of COPA's test set, translated by machine, and it shows; the data directory "
                "takes Datasets/kkCOPA.jsonl of akylbekmaxutov/LLM-eval-using-Kazakh"
            ),
        ),
    )


def _xcopa(tag: str, language: str, cause: str, effect: str, small: tuple[tuple[str, str], ...] = ()) -> Dataset:
    return Dataset(
        kind="questions",
        language=tag,
        hub="cambridgeltl/xcopa",
        config=tag.split("-")[0],
        prepare=Connected(
            premise="premise",
            choices=("choice1", "choice2"),
            asks_for="question",
            answer="label",
            cause=cause,
            effect=effect,
            small=small,
        ),
        licence="CC BY 4.0",
        citation="XCOPA, Ponti et al., EMNLP 2020",
        summary=f"XCOPA, {language}: 500 premises, each with two causes or effects to choose from",
    )
