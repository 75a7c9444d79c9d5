"""Texts that a reader takes for the same have one folded form, and texts that he tells apart have two."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilbench.kinds.language import Language
from tilbench.loader import Host
from tilbench.text.fold import APOSTROPHES, fold

DOTTED = ("tr-Latn", "az-Latn", "crh-Latn")


@pytest.fixture(scope="session")
def languages(host: Host) -> dict[str, Language]:
    return {name: host.registry.languages.get(name) for name in host.registry.languages.names()}


@pytest.mark.parametrize("tag", DOTTED)
def test_capitals_of_dotted_and_dotless_i_are_their_own(languages: dict[str, Language], tag: str) -> None:
    assert fold("IRMAK İRMİK", languages[tag]) == "ırmak irmik"
    assert fold("Irmak", languages[tag]) != fold("İrmak", languages[tag])


def test_other_languages_have_one_i(languages: dict[str, Language]) -> None:
    assert fold("INDEX İstanbul", languages["en-Latn"]) == "index istanbul"
    assert fold("ısı", languages["en-Latn"]) == "ısı"


def test_without_a_language_a_copy_is_found_however_it_was_re_cased() -> None:
    text = "Işık İzmir'in kıyısında"
    right = text.translate({ord("i"): "İ", ord("ı"): "I"}).upper()
    copies = [text, text.upper(), text.lower(), text.swapcase(), right, unicodedata.normalize("NFD", text.lower())]
    assert {fold(copy) for copy in copies} == {"işik izmir'in kiyisinda"}


def test_every_alphabet_folds_its_capitals(languages: dict[str, Language]) -> None:
    for language in languages.values():
        dotted = {ord("i"): "İ", ord("ı"): "I"} if "ı" in language.alphabet else {}
        for letter in language.alphabet:
            capital = letter.translate(dotted).upper()
            for form in ("NFC", "NFD"):
                assert fold(unicodedata.normalize(form, capital), language) == fold(letter, language), letter


@pytest.mark.parametrize("sign", ["'", *APOSTROPHES])
@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_apostrophes_are_one(sign: str, form: Any) -> None:
    assert fold(f"Ankara{sign}da", form=form) == "ankara'da"


@pytest.mark.parametrize("sign", ["\u00ad", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u200e", "\u202a"])
def test_what_is_invisible_is_no_difference(sign: str) -> None:
    assert fold(f"мек{sign}теп") == "мектеп"


def test_composed_and_decomposed_are_one() -> None:
    assert fold(unicodedata.normalize("NFD", "Йод, Ǵalym, Ñ")) == "йод, ǵalym, ñ"


def test_compatibility_forms_differ_unless_they_are_asked_for() -> None:
    assert fold("10²") != fold("102")
    assert fold("10² ﬁ Ａ", form="NFKC") == "102 fi a"


def test_white_space_is_kept() -> None:
    assert fold(" a\n b") == " a\n b"


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\u0345")), st.sampled_from(["NFC", "NFKC"]))
def test_folding_twice_changes_nothing(text: str, form: Any) -> None:
    assert fold(fold(text, form=form), form=form) == fold(text, form=form)
