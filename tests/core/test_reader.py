"""How requests become tokens: nothing is left out that fits, and what is left out is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilbench.config.decoding import Decoding
from tilbench.kinds.requests import Continuation, Document, Generation, NextWord, Request, Unanswered
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.scoring.decode.generate import Job, fit
from tilbench.scoring.encode.prefix import Prefix
from tilbench.scoring.encode.reader import Read, Reader

BOS = 1
ALWAYS, DOCUMENTS, NONE = Prefix(BOS, True, "bos"), Prefix(BOS, False, "bos"), Prefix(None, False, "none")


class Characters:
    """One token a character, and one more for each of `joined`. `opening` is put before every text."""

    special = SpecialTokens(bos=BOS)
    size = 70000

    def __init__(self, joined: Sequence[str] = (), opening: str = "") -> None:
        self.joined = list(joined)
        self.opening = opening

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        text = self.opening + text
        while text:
            found = next((each for each in self.joined if text.startswith(each)), text[0])
            ids.append(65000 + self.joined.index(found) if found in self.joined else ord(found))
            text = text[len(found) :]
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def unknown(self, ids: Sequence[int]) -> int:
        return 0

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.joined[each - 65000] if each >= 65000 else chr(each) for each in ids).removeprefix(
            self.opening
        )


def reader(length: int, prefix: Prefix = ALWAYS, tokenizer: Any = None) -> Reader:
    own: Any = tokenizer or Characters()
    return Reader(own, prefix, length, 70000)


def read(reading: Reader, *requests: Request) -> list[Read | Unanswered]:
    return [found for _, found in reading.likelihoods(requests)]


def shown(found: Read | Unanswered) -> tuple[str, str]:
    """Return context and targets of a request in one window; the prefix is shown as ^."""
    assert isinstance(found, Read)
    ((context, targets),) = found.pairs
    text = ["".join("^" if each == BOS else chr(each) for each in ids) for ids in (context, targets)]
    return text[0], text[1]


INSTRUCTION, EXAMPLES, QUESTION = "Do.|", ("old=1|", "mid=2|", "new=3|"), "ask="
CONTEXT = INSTRUCTION + "".join(EXAMPLES) + QUESTION
SPANS = tuple((4 + 6 * place, 10 + 6 * place) for place in range(3))


def request(continuation: str = "4", beside: tuple[str, ...] = ()) -> Continuation:
    return Continuation(CONTEXT, continuation, SPANS, len(INSTRUCTION), beside)


@pytest.mark.parametrize(
    ("length", "context", "dropped"),
    [
        (27, "^Do.|old=1|mid=2|new=3|ask=", 0),
        (26, "^Do.|mid=2|new=3|ask=", 1),
        (21, "^Do.|mid=2|new=3|ask=", 1),
        (20, "^Do.|new=3|ask=", 2),
        (15, "^Do.|new=3|ask=", 2),
        (14, "^Do.|ask=", 3),
        (9, "^Do.|ask=", 3),
        (8, "^Do.|sk=", 3),
        (6, "^Do.|=", 3),
    ],
)
def test_the_oldest_examples_go_first_then_text_after_the_instruction(length: int, context: str, dropped: int) -> None:
    (found,) = read(reader(length), request())
    assert shown(found) == (context, "4")
    assert isinstance(found, Read)
    assert (found.dropped, found.cut) == (dropped, 27 - 6 * dropped - len(context))


def test_an_instruction_that_leaves_no_room_for_a_question_is_no_prompt() -> None:
    (found,) = read(reader(5), request())
    assert found == Unanswered(
        "the instruction of 4 tokens and an answer of 1 leave no room for the question in 5 tokens", too_long=True
    )


def test_options_that_are_compared_are_shown_the_same() -> None:
    options = ("4", " a longer one", "5")
    found = read(reader(28), *(request(option, options) for option in options))
    assert {shown(each)[0] for each in found} == {"^Do.|new=3|ask="}
    assert [shown(each)[1] for each in found] == list(options)
    (alone,) = read(reader(28), request("4", options))
    assert alone == found[0], "an answer depends on what is asked beside it"
    (unrivalled,) = read(reader(28), request("4"))
    assert shown(unrivalled)[0] == f"^{CONTEXT}"


def test_without_examples_text_is_cut_on_the_left_after_the_prefix() -> None:
    for prefix, context in ((ALWAYS, "^ghij"), (DOCUMENTS, "fghij"), (NONE, "fghij")):
        (found,) = read(reader(7, prefix), Continuation("abcdefghij", "xyz"))
        assert shown(found) == (context, "xyz")
        assert isinstance(found, Read)
        assert found.cut == (11 if prefix is ALWAYS else 10) - 5


def test_a_continuation_as_long_as_the_model_leaves_room_for_the_prefix_alone() -> None:
    (found,) = read(reader(7), Continuation("abc", "1234567"))
    assert shown(found) == ("^", "1234567")


@given(
    instruction=st.text("i", max_size=6),
    sizes=st.lists(st.integers(1, 8), max_size=5),
    question=st.text("q", min_size=1, max_size=12),
    options=st.lists(st.text("a", min_size=1, max_size=6), min_size=1, max_size=4),
    length=st.integers(4, 60),
    prefix=st.sampled_from([ALWAYS, DOCUMENTS, NONE]),
)
def test_no_token_is_left_out_that_there_is_room_for(
    instruction: str, sizes: list[int], question: str, options: list[str], length: int, prefix: Prefix
) -> None:
    head = int(prefix.contexts)
    ends = [sum(sizes[: place + 1]) + len(instruction) for place in range(len(sizes))]
    spans = tuple((end - size, end) for size, end in zip(sizes, ends, strict=True))
    context = instruction + "e" * sum(sizes) + question
    longest = max(map(len, options))
    asked = [Continuation(context, option, spans, len(instruction), tuple(options)) for option in options]
    found = read(reader(length, prefix), *asked)
    sizes_left = [head + len(context) - sum(sizes[:count]) for count in range(len(sizes) + 1)]
    fitting = [count for count, size in enumerate(sizes_left) if size + longest - 1 <= length]
    for option, each in zip(options, found, strict=True):
        if isinstance(each, Unanswered):
            assert instruction
            assert head + len(instruction) + 1 + min(longest, length) - 1 > length
            continue
        if len(option) > length:
            continue
        ((given, targets),) = each.pairs
        assert len(targets) == len(option)
        assert len(given) == head + len(context) - sum(sizes[: each.dropped]) - each.cut
        if fitting:
            assert (each.dropped, len(given)) == (fitting[0], sizes_left[fitting[0]])
        else:
            assert each.dropped == len(sizes)
            assert len(given) + min(longest, length) - 1 == length, "there is room for one more token"
            assert given[: head + len(instruction)] == [BOS] * head + [ord("i")] * len(instruction)


COLON_A = Characters([": A"])


def test_a_token_over_the_join_is_no_token_of_the_continuation() -> None:
    options = (" A", " B")
    found = read(reader(40, ALWAYS, COLON_A), *(Continuation("Q:", option, beside=options) for option in options))
    assert [shown(each) for each in found] == [("^Q:", " A"), ("^Q:", " B")]
    (alone,) = read(reader(40, ALWAYS, COLON_A), Continuation("Q:", " A"))
    assert shown(alone) == ("^Q:", " A")


def test_all_options_are_encoded_apart_where_one_must_be() -> None:
    tokenizer = Characters([": A", "xy"], opening="_")
    options = (" A", "xy")
    found = read(reader(40, ALWAYS, tokenizer), *(Continuation("Q:", option, beside=options) for option in options))
    targets = [each.pairs[0][1] for each in found if isinstance(each, Read)]
    assert targets == [[ord("_"), ord(" "), ord("A")], [ord("_"), 65001]]


def test_a_space_of_the_tokenizers_own_stands_for_that_of_the_continuation() -> None:
    (found,) = read(reader(40, ALWAYS, Characters([": A"], opening=" ")), Continuation("Q:", " A"))
    assert isinstance(found, Read)
    assert found.pairs[0][1] == [ord(" "), ord("A")]


def test_spaces_at_the_end_of_a_context_are_scored() -> None:
    (found,) = read(reader(40), Continuation("Q: ", "A"))
    assert shown(found) == ("^Q:", " A")


def test_a_word_after_nothing_is_no_question() -> None:
    found = read(reader(9, NONE), NextWord("", "word"), NextWord("a", "word"), NextWord("", "word"))
    assert [type(each) for each in found] == [Unanswered, Read, Unanswered]
    (conditioned,) = read(reader(9, DOCUMENTS), NextWord("", "word"))
    assert shown(conditioned) == ("^", " word")


def test_a_first_token_that_nothing_stands_before_is_said_to_be_alone() -> None:
    found = read(reader(9, NONE), Document("text"), Continuation("", "text"), Continuation("a", "text"), Document(""))
    assert [each.alone for each in found if isinstance(each, Read)] == [True, True, False, False]
    assert [each.tokens for each in found if isinstance(each, Read)] == [4, 4, 4, 0]


def job(length: int, asked: Generation, prefix: Prefix = ALWAYS) -> Job | Unanswered:
    ((_, found),) = reader(length, prefix).jobs([asked])
    return found


def written(found: Job | Unanswered) -> str:
    assert isinstance(found, Job)
    return "".join("^" if each == BOS else chr(each) for each in found.prompt)


@pytest.mark.parametrize(
    ("length", "prompt", "limit", "dropped"),
    [
        (100, f"^{CONTEXT}", 32, 0),
        (59, f"^{CONTEXT}", 32, 0),
        (58, f"^{CONTEXT}", 31, 0),
        (36, f"^{CONTEXT}", 9, 0),  # a quarter is left for the answer
        (35, f"^{CONTEXT}", 8, 0),
        (34, "^Do.|mid=2|new=3|ask=", 13, 1),
        (27, "^Do.|mid=2|new=3|ask=", 6, 1),
        (26, "^Do.|new=3|ask=", 11, 2),
        (12, "^Do.|ask=", 3, 3),
        (8, "^Do.|=", 2, 3),
    ],
)
def test_an_answer_gets_the_room_that_its_prompt_leaves(length: int, prompt: str, limit: int, dropped: int) -> None:
    found = job(length, Generation(CONTEXT, Decoding(max_new_tokens=32), optional=SPANS, keep=len(INSTRUCTION)))
    assert isinstance(found, Job)
    row = fit(found, length)
    assert "".join("^" if each == BOS else chr(each) for each in row.ids) == prompt
    assert (row.limit, row.dropped, row.cut) == (limit, dropped, 27 - 6 * dropped - len(prompt))


def test_a_prompt_without_room_for_more_than_its_instruction_is_left_out() -> None:
    found = job(6, Generation(CONTEXT, Decoding(max_new_tokens=32), optional=SPANS, keep=len(INSTRUCTION)))
    assert isinstance(found, Unanswered)
    assert (
        "the instruction of 4 tokens leaves no room for the question in 6 tokens, of which 1 are kept" in found.reason
    )


def test_an_empty_prompt_is_the_prefix_or_nothing() -> None:
    assert written(job(9, Generation(""), DOCUMENTS)) == "^"
    assert written(job(9, Generation("a"), DOCUMENTS)) == "a"
    assert isinstance(job(9, Generation(""), NONE), Unanswered)
    examples = Generation("abcdefghij", Decoding(max_new_tokens=4), optional=((0, 10),))
    assert written(job(8, examples, DOCUMENTS)) == "^"
    assert isinstance(job(8, examples, NONE), Unanswered)
