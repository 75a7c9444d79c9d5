"""Turkish v1 and v2: two generations of a Turkish decoder from scratch, and the corpora they were trained on."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.data.dataset import Dataset
from tilbench.hookspecs import Register

# The documents' own files and domains, none of them published as they were used: a data directory has to hold them.
_ROUND_1 = {
    "wikipedia_tr": "Turkish Wikipedia, capped at 310 MB",
    "orca_math_tr": "mathematical problems, 117 MB",
    "tdk_full": "the dictionary of the Turkish Language Association, 9.5 MB",
    "turkish_folk_songs": "folk songs, 2.3 MB",
    "turkish_idioms_proverbs": "idioms and proverbs, 1.6 MB",
    "turkish_poems": "poems, 0.4 MB",
    "turkish_mmlu_exams": "exam questions, 0.2 MB",
    "literary_short_stories": "short stories, 0.1 MB",
}
_FULL = {
    "general-knowledge": "Turkish Wikipedia, uncapped, 866 MB",
    "academic": "academic papers (BellaTurca AkademikDerlem), 3.5 GB",
    "literary-web": "curated web documents (BellaTurca ÖzenliDerlem), 4.4 GB",
    "news": "news articles, 4.5 GB",
    "legal": "court decisions, 3.7 GB",
    "instructions": "instruction and answer pairs, 3.7 GB",
    "code": "Python, 569 MB",
    "financial": "announcements of companies and capital markets, 425 MB",
    "reasoning": "mathematical problems and chains of thought, 221 MB",
    "medical": "medical reasoning and hospital articles, 108 MB",
    "education": "questions, exams, dictionary and literature, about 100 MB",
}


@hookimpl
def register_models(register: Register) -> None:
    """Register `turkish-v1` and `turkish-v2`."""
    register(
        "turkish-v1",
        "tilbench_turkish_v1_v2/turkish-v1.yaml",
        summary="24.7M Turkish ALiBi decoder, three rounds on one H100 NVL",
    )
    register(
        "turkish-v2",
        "tilbench_turkish_v1_v2/turkish-v2.yaml",
        summary="67.6M Turkish ALiBi decoder with a context of 2048, made for retrieved context",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the files of round 1, the domains of the full corpus and the pairs of SFT, under `turkish-rag/`.

    A text file there is split into documents at blank lines, as the document's own pipeline does.
    """
    for name, what in (_ROUND_1 | _FULL).items():
        dataset = Dataset(
            kind="documents",
            language="code" if name == "code" else "tr-Latn",
            summary=f"{what}; not published as it was used: put it at turkish-rag/{name}.txt of the data directory",
        )
        register(f"turkish-rag/{name}", dataset, summary=dataset.summary)
    for name, count in {"sft": "3,790", "sft-v2": "7,595"}.items():
        pairs = Dataset(
            kind="conversations",
            language="tr-Latn",
            summary=(
                f"{count} questions with answers from given text; not published: put them at turkish-rag/{name}.jsonl "
                "of the data directory, with a column 'messages' of turns (role, content)"
            ),
        )
        register(f"turkish-rag/{name}", pairs, summary=pairs.summary)
