"""Multiple-choice questions of the Hub by language: TUMLU, Belebele, INCLUDE, KazMMLU, TurkishMMLU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tilbench.data.dataset import Dataset

__all__ = ["exam_datasets"]

Named = tuple[str, Dataset]
Columns = Mapping[str, str | tuple[str, ...]]

_DEV, _TEST = "solved questions for few-shot prompts", "school subjects"

# What the languages are called in ids; their tags say in which script the sets are.
_TAGS = {
    "azerbaijani": "az-Latn",
    "crimean-tatar": "crh-Latn",
    "english": "en-Latn",
    "italian": "it-Latn",
    "karakalpak": "kaa-Latn",
    "kazakh": "kk-Cyrl",
    "kyrgyz": "ky-Cyrl",
    "russian": "ru-Cyrl",
    "tatar": "tt-Cyrl",
    "turkish": "tr-Latn",
    "uyghur": "ug-Arab",
    "uzbek": "uz-Latn",
}
_TUMLU = (
    "azerbaijani",
    "crimean-tatar",
    "karakalpak",
    "kazakh",
    "kyrgyz",
    "tatar",
    "turkish",
    "uyghur",
    "uzbek",
)
_BELEBELE = {
    "azerbaijani": "azj_Latn",
    "english": "eng_Latn",
    "italian": "ita_Latn",
    "kazakh": "kaz_Cyrl",
    "kyrgyz": "kir_Cyrl",
    "russian": "rus_Cyrl",
    "turkish": "tur_Latn",
    "uzbek": "uzn_Latn",
}
_INCLUDE = ("azerbaijani", "italian", "kazakh", "russian", "turkish", "uzbek")

_BELEBELE_COLUMNS: Columns = {
    "id": ("link", "question_number"),  # questions of one passage are one cluster
    "passage": "flores_passage",
    "choices": tuple(f"mc_answer{number}" for number in range(1, 5)),
    "answer": "correct_answer_num",
}
_INCLUDE_COLUMNS: Columns = {"choices": tuple(f"option_{letter}" for letter in "abcd")}
_KAZMMLU_COLUMNS: Columns = {
    "question": "Question",
    "choices": tuple(f"Option {letter}" for letter in "ABCDE"),
    "answer": "Answer Key",
}

_SCHOOL, _UNIVERSITY = "High School", "Professional & University"
_KAZMMLU_KAZAKH = (
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
_KAZMMLU_RUSSIAN = {
    **dict.fromkeys(
        (
            "Biology",
            "Chemistry",
            "Geography",
            "Informatics",
            "Kazakh History",
            "Law",
            "Math",
            "Math Literacy",
            "Physics",
            "Reading Literacy",
            "Russian Language",
            "Russian Literature",
            "World History",
        ),
        _SCHOOL,
    ),
    **dict.fromkeys(
        (
            "Accounting and Auditing",
            "Culture and Art",
            "Education and Training",
            "Finance",
            "General Education Disciplines",
            "Jurisprudence",
            "Management and Marketing",
            "Medicine",
            "Philosophy and Psychology",
            "Social Science",
        ),
        _UNIVERSITY,
    ),
    "Economics and Entrepreneurship": "Professional",
}
_TURKISHMMLU = (
    "Biology",
    "Chemistry",
    "Geography",
    "History",
    "Mathematics",
    "Philosophy",
    "Physics",
    "Religion_and_Ethics",
    "Turkish_Language_and_Literature",
)


def exam_datasets() -> Iterator[Named]:
    """Yield name and dataset of every set of questions."""
    yield from _tumlu()
    yield from _belebele()
    yield from _include()
    yield from _kazmmlu()
    yield from _turkishmmlu()


def _tumlu() -> Iterator[Named]:
    for language in _TUMLU:
        for split, what in (("dev", _DEV), ("test", _TEST)):
            dataset = Dataset(
                kind="questions",
                language=_TAGS[language],
                hub="jafarisbarov/TUMLU-mini",
                config=language,
                split=split,
                licence="CC BY 4.0 (as tagged on the Hub; the authors' repository has no licence file)",
                citation="TUMLU, arXiv 2502.11020",
                summary=f"TUMLU, {_title(language)}: {what}; the right letter is not evenly spread",
            )
            yield f"mc/tumlu-{language}/{split}", dataset


def _belebele() -> Iterator[Named]:
    for language, config in _BELEBELE.items():
        dataset = Dataset(
            kind="questions",
            language=_TAGS[language],
            hub="facebook/belebele",
            config=config,
            columns=_BELEBELE_COLUMNS,
            answers_from=1,
            licence="CC BY-SA 4.0",
            citation="Belebele, arXiv 2308.16884",
            summary=f"Belebele, {_title(language)}: reading comprehension, 900 questions on 488 passages",
        )
        yield f"mc/belebele-{language}/test", dataset


def _include() -> Iterator[Named]:
    for language in _INCLUDE:
        for ours, split, what in (("dev", "validation", _DEV), ("test", "test", "regional knowledge, from exams")):
            dataset = Dataset(
                kind="questions",
                language=_TAGS[language],
                hub="CohereForAI/include-base-44",
                config=_title(language),
                split=split,
                columns=_INCLUDE_COLUMNS,
                licence="Apache-2.0",
                citation="INCLUDE, arXiv 2411.19799",
                summary=f"INCLUDE, {_title(language)}: {what}",
            )
            yield f"mc/include-{language}/{ours}", dataset


def _kazmmlu() -> Iterator[Named]:
    for subject in _KAZMMLU_KAZAKH:
        yield from _kazmmlu_subject("kazmmlu", subject, f"{subject} ({_SCHOOL} in kaz)", "kazakh")
    for subject, level in _KAZMMLU_RUSSIAN.items():
        yield from _kazmmlu_subject("kazmmlu-ru", subject, f"{subject} ({level} in rus)", "russian")
    university = f"Biology ({_UNIVERSITY} in rus)"
    yield from _kazmmlu_subject("kazmmlu-ru", "University Biology", university, "russian")


def _kazmmlu_subject(prefix: str, subject: str, config: str, language: str) -> Iterator[Named]:
    for split in ("dev", "test"):
        dataset = Dataset(
            kind="questions",
            language=_TAGS[language],
            hub="MBZUAI/KazMMLU",
            config=config,
            split=split,
            columns=_KAZMMLU_COLUMNS,
            licence="CC BY-NC 4.0",
            citation="KazMMLU, arXiv 2502.12829",
            summary=f"KazMMLU, {subject} in {_title(language)}"
            + (": three solved questions" if split == "dev" else ""),
        )
        yield f"{prefix}/{subject.lower().replace(' ', '-')}/{split}", dataset


def _turkishmmlu() -> Iterator[Named]:
    for subject in _TURKISHMMLU:
        for split, what in (("dev", f": {_DEV}"), ("test", ", five options")):
            dataset = Dataset(
                kind="questions",
                language=_TAGS["turkish"],
                hub="AYueksel/TurkishMMLU",
                config=subject,
                split=split,
                citation="TurkishMMLU, arXiv 2407.12402",
                summary=f"TurkishMMLU, {subject.replace('_', ' ')}{what}",
            )
            yield f"turkishmmlu/{subject.lower().replace('_', '-')}/{split}", dataset


def _title(language: str) -> str:
    return language.replace("-", " ").title()
