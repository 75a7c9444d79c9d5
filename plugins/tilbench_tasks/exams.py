"""Multiple-choice questions: TUMLU, Belebele, and the Kazakh exam sets of the Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tilbench.data.dataset import Dataset

__all__ = ["exam_datasets"]

Named = tuple[str, Dataset]
Columns = Mapping[str, str | tuple[str, ...]]

_KAZAKH = "kk-Cyrl"
_FOUR_OPTIONS = tuple(f"Option {letter}" for letter in "ABCD")
_EXAM: Columns = {"question": "Question", "choices": _FOUR_OPTIONS, "answer": "Correct Answer"}
_UNT: Columns = {"question": "question", "choices": tuple("ABCDEFGH"), "answer": "correct_answer"}
_KAZMMLU: Columns = {"question": "Question", "choices": (*_FOUR_OPTIONS, "Option E"), "answer": "Answer Key"}
_INCLUDE: Columns = {
    "question": "question",
    "choices": tuple(f"option_{letter}" for letter in "abcd"),
    "answer": "answer",
}

_TUMLU_LANGUAGES = {"kazakh": _KAZAKH, "turkish": "tr-Latn", "azerbaijani": "az-Latn", "uzbek": "uz-Latn"}

# dataset, split, what it is
_SINGLE = (
    ("mmlu-translated-kk", "validation", "MMLU translated into Kazakh, 1,531 questions"),
    ("kazakh-constitution-mc", "test", "the Constitution of Kazakhstan, 414 questions"),
    ("kazakh-dastur-mc", "test", "Kazakh traditions, 1,005 questions made by a model from definitions"),
)
# splits of the Unified National Testing and their rows; the split biology is biology alone
_UNT_SPLITS = {
    "kazakh_and_literature": 4688,
    "history_of_kazakhstan": 3260,
    "english": 2197,
    "geography": 1718,
    "biology": 1536,
    "world_history": 1228,
    "human_society_rights": 223,
}
_KAZMMLU_SUBJECTS = (
    "Biology",
    "Chemistry",
    "Geography",
    "Informatics",
    "Kazakh History",
    "Kazakh Language",
    "Kazakh Literature",
    "Law",
    "Math",
    "Physics",
    "Reading Literacy",
    "World History",
)


def exam_datasets() -> Iterator[Named]:
    """Yield name and dataset of every set of questions."""
    yield from _tumlu()
    yield from _belebele()
    yield from _kz_transformers()
    yield from _kazmmlu()
    yield (
        "CohereForAI/include-base-44/Kazakh",
        Dataset(
            kind="questions",
            language=_KAZAKH,
            hub="CohereForAI/include-base-44",
            config="Kazakh",
            columns=_INCLUDE,
            summary="INCLUDE, Kazakh: regional knowledge, arts and humanities only",
        ),
    )


def _tumlu() -> Iterator[Named]:
    for name, tag in _TUMLU_LANGUAGES.items():
        for split, what in (("dev", "solved questions for few-shot prompts"), ("test", "school subjects")):
            dataset = Dataset(
                kind="questions",
                language=tag,
                hub="jafarisbarov/TUMLU-mini",
                config=name,
                split=split,
                licence="CC BY 4.0 (as tagged on the Hub; the authors' repository has no licence file)",
                citation="TUMLU, arXiv 2502.11020",
                summary=f"TUMLU, {name.title()}: {what}; the right letter is not evenly spread",
            )
            yield f"mc/tumlu-{name}/{split}", dataset


def _belebele() -> Iterator[Named]:
    # On the Hub the right answer is a text from "1" to "4", which columns cannot turn into an index from 0.
    dataset = Dataset(
        kind="questions",
        language=_KAZAKH,
        licence="CC BY-SA 4.0",
        citation="Belebele, config kaz_Cyrl of facebook/belebele",
        summary=(
            "Belebele, Kazakh: reading comprehension, 900 questions; published as facebook/belebele kaz_Cyrl, whose "
            "answers count from 1: put it in the data directory with id, passage, question, choices, answer (from 0)"
        ),
    )
    yield "mc/belebele-kazakh/test", dataset


def _kz_transformers() -> Iterator[Named]:
    for name, split, what in _SINGLE:
        hub = f"kz-transformers/{name}"
        dataset = Dataset(
            kind="questions",
            language=_KAZAKH,
            hub=hub,
            split=split,
            columns=_EXAM,
            licence="Apache-2.0",
            summary=what,
        )
        yield hub, dataset
    hub = "kz-transformers/kazakh-unified-national-testing-mc"
    for split, rows in _UNT_SPLITS.items():
        dataset = Dataset(
            kind="questions",
            language=_KAZAKH,
            hub=hub,
            split=split,
            columns=_UNT,
            licence="Apache-2.0",
            summary=f"Unified National Testing, {split.replace('_', ' ')}: {rows:,} questions of up to 8 choices",
        )
        yield f"{hub}/{split}", dataset


def _kazmmlu() -> Iterator[Named]:
    for subject in _KAZMMLU_SUBJECTS:
        for split in ("dev", "test"):
            dataset = Dataset(
                kind="questions",
                language=_KAZAKH,
                hub="MBZUAI/KazMMLU",
                config=f"{subject} (High School in kaz)",
                split=split,
                columns=_KAZMMLU,
                citation="KazMMLU, arXiv 2502.12829",
                summary=f"KazMMLU, {subject} in Kazakh" + (": three solved questions" if split == "dev" else ""),
            )
            yield f"kazmmlu/{subject.lower().replace(' ', '-')}/{split}", dataset
