"""1gpu-llm small EN/IT: a bilingual base model trained on one consumer GPU, and the public text it was made from."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.data.dataset import Dataset
from tilbench.hookspecs import Register

# name → Hub id, config, language, licence as the model card states it
_SOURCES = {
    "epfml/FineWeb-HQ": ("epfml/FineWeb-HQ", "", "en-Latn", "ODC-By 1.0, Common Crawl terms"),
    "epfml/FineWeb2-HQ/ita_Latn": ("epfml/FineWeb2-HQ", "ita_Latn", "it-Latn", "ODC-By 1.0, Common Crawl terms"),
    "google/wiki40b/en": ("google/wiki40b", "en", "en-Latn", "CC BY-SA (Wikipedia)"),
    "google/wiki40b/it": ("google/wiki40b", "it", "it-Latn", "CC BY-SA (Wikipedia)"),
}


@hookimpl
def register_models(register: Register) -> None:
    """Register `1gpu-small-en-it`."""
    register(
        "1gpu-small-en-it",
        "tilbench_1gpu_small_en_it/1gpu-small-en-it.yaml",
        summary="136M GPT-2 on English and Italian, one RTX 4060 Ti, decay-only continuation",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the four public sources of its training text, streamed, and the test split of two."""
    for name, (hub, config, language, licence) in _SOURCES.items():
        dataset = Dataset(
            kind="documents",
            language=language,
            hub=hub,
            config=config,
            split="train",
            streaming=True,
            columns={"text": "text"},
            licence=licence,
            summary="training text of 1gpu-llm; the released model saw a filtered, stratified part of it",
        )
        register(name, dataset, summary=dataset.summary)
    for language, tag in (("en", "en-Latn"), ("it", "it-Latn")):
        wiki = Dataset(
            kind="documents",
            language=tag,
            hub="google/wiki40b",
            config=language,
            split="test",
            columns={"id": "wikidata_id", "text": "text"},
            licence="CC BY-SA (Wikipedia)",
            summary="articles of Wiki40B's test split, with its marks of titles and sections in them",
        )
        register(f"google/wiki40b/{language}/test", wiki, summary=wiki.summary)
