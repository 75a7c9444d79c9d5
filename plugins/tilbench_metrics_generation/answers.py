"""When two answers are the same: SQuAD's normalisation and scores, for more languages than English.

Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (2016), and for other languages Lewis et
al., "MLQA" (2020): case, punctuation, articles and white space do not count. One rule is added: an accepted answer that
consists of such things alone ("A", "%") is compared with them.
"""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import regex

from tilbench.kinds.language import Language
from tilbench.text.words import unicode_words

__all__ = ["compare", "exact_match", "token_f1", "words_of"]

_ARTICLES: Mapping[str, frozenset[str]] = {
    "en": frozenset({"a", "an", "the"}),
    "it": frozenset({"il", "lo", "la", "i", "gli", "le", "un", "uno", "una"}),
}
"""Articles of a language, in lower case. A language that is not here is taken to have none."""

_ELIDED = {"it": regex.compile(r"\b(?:l|un)['’]")}
"""Articles that an apostrophe joins to the word after them."""

# what Unicode calls punctuation, and the symbols of ASCII
_PUNCTUATION = regex.compile(rf"[\p{{P}}{regex.escape(string.punctuation)}]")


_SIGN = regex.compile(r"\w+|[^\w\s]")
"""A word or one sign."""


def words_of(text: str, language: Language) -> list[str]:
    """Return the words of an answer that count, in order.

    The text is composed and its compatibility forms are made plain (NFKC), case is folded (where the alphabet has a
    dotless ı, I becomes ı and İ becomes i), punctuation is removed, what is left is split into words
    (`tilbench.text.words.unicode_words`), and articles are dropped. As in SQuAD, punctuation inside a word joins its
    parts: `3,14` is `314`. An Italian article is cut off first: `l'acqua` is `acqua`.
    """
    return _without_articles(_folded(text, language), language)


def compare(answer: str, accepted: str, language: Language) -> tuple[float, float]:
    """Return exact match and token F1 of an answer against one accepted answer.

    Both are reduced in the same way: to their words (`words_of`); or to their words with articles, where the accepted
    answer has no other ("A"); or to their words and signs, where it has no word at all ("%").
    """
    folded = [_folded(text, language) for text in (answer, accepted)]
    given, wanted = (_without_articles(text, language) for text in folded)
    if not wanted:
        given, wanted = (_words(text) for text in folded)
    if not wanted:
        given, wanted = (_SIGN.findall(text) for text in folded)
    return exact_match(given, wanted), token_f1(given, wanted)


def _folded(text: str, language: Language) -> str:
    text = unicodedata.normalize("NFKC", text)
    if "ı" in language.alphabet:
        text = text.replace("İ", "i").replace("I", "ı")
    return unicodedata.normalize("NFKC", text.casefold())


def _without_articles(folded: str, language: Language) -> list[str]:
    subtag = language.tag.split("-")[0]
    if elided := _ELIDED.get(subtag):
        folded = elided.sub(" ", folded)
    articles = _ARTICLES.get(subtag, frozenset())
    return [word for word in _words(folded) if word not in articles]


def _words(folded: str) -> list[str]:
    return unicode_words(_PUNCTUATION.sub("", folded))


def exact_match(answer: Sequence[str], accepted: Sequence[str]) -> float:
    """Return 1 where two answers have the same words in the same order, else 0."""
    return float(answer == accepted)


def token_f1(answer: Sequence[str], accepted: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall of the words, each counted as often as it stands.

    0 where they share no word, as in SQuAD 1.1.
    """
    shared = sum((Counter(answer) & Counter(accepted)).values())
    return 2 * shared / (len(answer) + len(accepted)) if shared else 0.0
