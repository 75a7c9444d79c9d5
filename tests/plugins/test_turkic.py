"""The Turkic languages beside Kazakh and Turkish."""

from __future__ import annotations

import pytest

from tilbench.kinds.language import Language
from tilbench.loader import load_plugins
from tilbench.testing.registered import conformance
from tilbench.text.language_classes import profile_text
from tilbench.text.language_id import identify

REGISTRY = load_plugins().registry
TAGS = ("az-Latn", "ky-Cyrl", "uz-Latn", "tt-Cyrl", "ug-Arab", "kaa-Latn", "crh-Latn")
WITH_PROFILE = TAGS[:4]


@pytest.mark.parametrize("tag", TAGS)
def test_they_conform(tag: str) -> None:
    outcomes = {each.check: each for each in conformance("languages", tag, REGISTRY).run()}
    assert not [each for each in outcomes.values() if each.status == "fail"]
    assert outcomes["alphabet"].status == outcomes["cues"].status == "pass"
    assert outcomes["profile"].status == ("pass" if tag in WITH_PROFILE else "n/a")


def test_alphabets_have_as_many_letters_as_they_should() -> None:
    wanted = {"az-Latn": 32, "ky-Cyrl": 36, "tt-Cyrl": 39, "ug-Arab": 33, "kaa-Latn": 32, "crh-Latn": 32}
    found = {tag: len(REGISTRY.languages.get(tag).alphabet) for tag in wanted}
    assert found == wanted


@pytest.mark.parametrize("tag", WITH_PROFILE)
def test_every_paragraph_of_a_profile_is_in_its_language(tag: str) -> None:
    languages: list[Language] = [REGISTRY.languages.get(name) for name in REGISTRY.languages.names()]
    language = next(each for each in languages if each.tag == tag)
    text = profile_text(language.profile)
    assert set(text.lower().replace("i̇", "i")) - set(language.alphabet) <= set(" \n.,:—-")
    assert {identify(part, languages) for part in text.split("\n\n")} == {tag}
