"""Texts with labels: topics and sentiment, for the metric `classification`."""

from __future__ import annotations

from collections.abc import Iterator

from tilbench.data.dataset import Dataset

__all__ = ["labelled_datasets"]

_SIB200 = {
    "azerbaijani": ("azj_Latn", "az-Latn"),
    "crimean-tatar": ("crh_Latn", "crh-Latn"),
    "english": ("eng_Latn", "en-Latn"),
    "italian": ("ita_Latn", "it-Latn"),
    "kazakh": ("kaz_Cyrl", "kk-Cyrl"),
    "kyrgyz": ("kir_Cyrl", "ky-Cyrl"),
    "russian": ("rus_Cyrl", "ru-Cyrl"),
    "tatar": ("tat_Cyrl", "tt-Cyrl"),
    "turkish": ("tur_Latn", "tr-Latn"),
    "uyghur": ("uig_Arab", "ug-Arab"),
    "uzbek": ("uzn_Latn", "uz-Latn"),
}
"""Language → its configuration on the Hub, and its tag here."""
_SPLITS = {"dev": ("train", "701 labelled sentences for few-shot prompts"), "test": ("test", "204 sentences")}


def labelled_datasets() -> Iterator[tuple[str, Dataset]]:
    """Yield name and dataset of SIB-200 by language, and of KazSAnDRA."""
    for language, (config, tag) in _SIB200.items():
        for ours, (split, what) in _SPLITS.items():
            dataset = Dataset(
                kind="labelled",
                language=tag,
                hub="Davlan/sib200",
                config=config,
                split=split,
                columns={"id": "index_id", "label": "category"},
                licence="CC BY-SA 4.0",
                citation="SIB-200, Adelani et al., EACL 2024",
                summary=f"SIB-200, {language.replace('-', ' ').title()}: {what}, seven topics",
            )
            yield f"sib200/{language}/{ours}", dataset
    for task, labels in (("polarity", "two polarities"), ("score", "one to five stars")):
        for split in ("validation", "test"):
            dataset = Dataset(
                kind="labelled",
                language="kk-Cyrl",
                licence="CC BY 4.0",
                citation="KazSAnDRA, Yeshpanov and Varol, LREC-COLING 2024",
                summary=(
                    f"KazSAnDRA: Kazakh reviews with {labels}; put the set in the data directory with the columns text "
                    "and label"
                ),
            )
            yield f"kazsandra/{task}/{split}", dataset
