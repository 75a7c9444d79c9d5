"""Training of unigram pieces, by SentencePiece.

The trainer of the `tokenizers` library is not used: it sums in the order of a hash table that is seeded anew
in each process, and the scores it returns differ by 1e-2 from run to run.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping

from tilbench.errors import MissingDependency
from tilbench_tokenizers.fast import byte_alphabet

__all__ = ["train_pieces"]

_THREADS = 4
"""Fixed, not the machine's: the threads' sums are added in order, so their number decides the digits."""
_MARK = "\ue000"
"""A character that no byte-level text has."""
_LONGEST = 128
"""Bytes in a piece: 32 letters of any script, 64 of Cyrillic.

SentencePiece's default of 16 means letters, and its letters are bytes here. Longer pre-tokens (rules of dashes, encoded
data) are cut for training, because time grows with the square of a piece's length.
"""


def train_pieces(words: Mapping[str, int], room: int) -> list[tuple[str, float]]:
    """Return the 256 byte characters and at most `room` longer pieces, with log-probabilities, best first.

    words: pre-tokens in byte-level characters, and their counts.
    Raises MissingDependency where `sentencepiece` is not installed.
    """
    alphabet = sorted(byte_alphabet())
    stretches = _stretches(words)
    pieces = dict(_train(stretches, room + len(set("".join(stretches)))) if stretches else ())
    # a byte that never occurred is worth as little as the least likely piece that did
    least = min(pieces.values(), default=-10.0)
    pieces |= {character: least for character in alphabet if character not in pieces}
    longer = sorted((p for p in pieces if len(p) > 1), key=lambda p: (-pieces[p], p))
    kept = {*alphabet, *longer[:room]}
    return sorted(((p, pieces[p]) for p in kept), key=lambda item: (-item[1], item[0]))


def _stretches(words: Mapping[str, int]) -> Counter[str]:
    counts = Counter[str]()
    for word, count in words.items():
        for start in range(0, len(word), _LONGEST):
            counts[word[start : start + _LONGEST]] += count
    return counts


def _train(words: Mapping[str, int], size: int) -> list[tuple[str, float]]:
    try:
        import sentencepiece
    except ModuleNotFoundError:
        raise MissingDependency("sentencepiece", "hf", "training a unigram tokenizer") from None
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_lines(words),
        model_writer=model,
        input_format="tsv",
        model_type="unigram",
        vocab_size=size + 2,  # and <unk>, which is dropped because every byte has a piece, and the mark
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_by_unicode_script=False,
        split_by_number=False,
        split_by_whitespace=False,
        max_sentence_length=1 << 20,
        max_sentencepiece_length=_LONGEST,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=_THREADS,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(1, processor.vocab_size())]
    return [(piece, score) for piece, score in pieces if _MARK not in piece]


def _lines(words: Mapping[str, int]) -> Iterator[str]:
    """Yield words and counts, and words that occur again once more with a mark at their end.

    SentencePiece takes as candidates what is followed by different characters. Its own input is running text; here a
    word always ends its line, and without the mark it would be no candidate unless it also begins a longer word.
    """
    for word in sorted(words, key=lambda w: (-words[w], w)):
        yield f"{word}\t{words[word]}"
        if words[word] > 1:
            yield f"{word}{_MARK}\t1"
