"""The two definitions of a word, in the scripts this project is for, and at length."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from tilbench.text.words import unicode_words, whitespace_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Қазақстан — Орталық Азиядағы мемлекет.", ["Қазақстан", "Орталық", "Азиядағы", "мемлекет"]),
        ("бизнес-климатын", ["бизнес", "климатын"]),
        ("Ankara'da ve Ankara’da", ["Ankara'da", "ve", "Ankara’da"]),
        ("l'Italia dell'Est", ["l'Italia", "dell'Est"]),
        ("3,14 және 1.000.000 – 10%", ["3,14", "және", "1.000.000", "10"]),
        ("https://example.com/a?b=c", ["https", "example.com", "a", "b", "c"]),
        ("👨‍👩‍👧 жақсы 🇰🇿🇹🇷 a🇰🇿b", ["жақсы", "a", "b"]),
        ("foo_bar __x__ __", ["foo_bar", "__x__"]),
        ("é й", ["é", "й"]),
        ("日本 カタカナ ½", ["日", "本", "カタカナ", "½"]),
        ('ארה"ב א\' "א"', ['ארה"ב', "א'", "א"]),
        ("a.b. 1.a a:b", ["a.b", "1", "a", "a:b"]),
        ("", []),
        (" \n—!…", []),
    ],
)
def test_unicode_words(text: str, words: list[str]) -> None:
    assert unicode_words(text) == words


def test_morpheme_mark_does_not_end_a_whitespace_word() -> None:
    # str.split would make four words of these two
    assert whitespace_words("бала\x1fлар үй\x1fде\n") == ["бала\x1fлар", "үй\x1fде"]


def test_whitespace_is_unicode_s() -> None:
    assert whitespace_words("a\u00a0b\u2003c\u3000d\x85e\u200bf") == ["a", "b", "c", "d", "e\u200bf"]
    assert whitespace_words("a\u00a0b\x1f\u2003c\u3000d") == ["a", "b\x1f", "c", "d"]


@given(st.text())
def test_whitespace_words_are_the_runs_without_white_space(text: str) -> None:
    assert whitespace_words(text) == regex.findall(r"\P{White_Space}+", text)


@given(st.text(st.sampled_from("abя1.,' _-:\"\n\r\u0301\u2019\x1f\u00ad\u05d0カ日가½🇰🇿👨"), max_size=40))
def test_unicode_words_agree_with_an_implementation_of_the_annex(text: str) -> None:
    reference = pytest.importorskip("uniseg.wordbreak")
    expected = [word for word in reference.words(text) if regex.search(r"[\p{L}\p{N}]", word)]
    assert unicode_words(text) == expected


@given(st.text())
def test_unicode_words_occur_in_order_and_cover_all_letters(text: str) -> None:
    at = 0
    for word in unicode_words(text):
        at = text.index(word, at) + len(word)
    letters = regex.findall(r"[\p{L}\p{N}]", text)
    kept = regex.findall(r"[\p{L}\p{N}]", "".join(unicode_words(text)))
    # a halfwidth voiced mark on a sign without letters is an Lm that belongs to the sign (WB4)
    assert [c for c in letters if c not in "\uff9e\uff9f"] == [c for c in kept if c not in "\uff9e\uff9f"]


@pytest.mark.parametrize("unit", ["a", "қазақ тілі ", "🇰🇿", "a\u0301", "_", "a_", "a.", "א'", "1,", ":", "👨\u200d"])
def test_a_megabyte_on_one_line_takes_linear_time(
    unit: str, growth: Callable[[Callable[[int], object], int], float]
) -> None:
    line = unit * 1_000_000
    for split in (unicode_words, whitespace_words):
        assert growth(lambda size, split=split: split(line[:size]), 1_000_000) < 30  # type: ignore[misc]
