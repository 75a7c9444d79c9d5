"""Chat templates, against the ones that are published."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilbench.errors import DataError, UnknownName
from tilbench.text.chat import TEMPLATES, Segment, template, with_input

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # imports warn of other people's deprecations
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

CHATML = """{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'
+ '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
"""

TURNS = [
    ("system", "Қысқа жауап бер."),
    ("user", "Қазақстанның астанасы қай қала? "),
    ("assistant", "Астана."),
    ("user", "And of Italy?"),
    ("assistant", " Rome.\nIt is on the Tiber."),
]


def published(jinja: str, turns: list[tuple[str, str]], prompt: bool) -> str:
    """Return what Transformers makes of the turns."""
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(tokenizer_object=Tokenizer(models.BPE()), bos_token="<bos>")
    messages = [{"role": role, "content": content} for role, content in turns]
    text: str = tokenizer.apply_chat_template(
        messages, chat_template=jinja, tokenize=False, add_generation_prompt=prompt
    )
    return text


def whole(name: str, turns: list[tuple[str, str]]) -> str:
    return "".join(segment.text for segment in template(name).render(turns))


@pytest.mark.parametrize(("name", "jinja", "bos"), [("chatml", CHATML, ""), ("gemma", GEMMA, "<bos>")])
@pytest.mark.parametrize("system", [True, False])
def test_as_transformers_renders_the_published_template(name: str, jinja: str, bos: str, system: bool) -> None:
    turns = TURNS if system else TURNS[1:]
    for end in range(2, len(turns) + 1):
        assert bos + whole(name, turns[:end]) == published(jinja, turns[:end], prompt=False)
        if turns[end - 1][0] == "user":
            assert bos + template(name).prompt(turns[:end]) == published(jinja, turns[:end], prompt=True)


def test_alpaca_as_published() -> None:
    plain = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nName a river.\n\n### Response:"
    )
    with_text = (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request."
        "\n\n### Instruction:\nTranslate.\n\n### Input:\nGood day\n\n### Response:"
    )
    assert template("alpaca").prompt([("user", with_input("Name a river.", ""))]) == plain
    assert template("alpaca").prompt([("user", with_input("Translate.", "Good day"))]) == with_text
    assert template("alpaca").render([("user", "Name a river."), ("assistant", "The Ural.")]) == [
        Segment(plain, is_answer=False),
        Segment("The Ural.", is_answer=True),
    ]


def test_alpaca_with_a_system_prompt_and_further_turns() -> None:
    assert whole("alpaca", TURNS) == (
        "Қысқа жауап бер.\n\n### Instruction:\nҚазақстанның астанасы қай қала? \n\n### Response:Астана."
        "\n\n### Instruction:\nAnd of Italy?\n\n### Response: Rome.\nIt is on the Tiber."
    )


def test_plain_by_hand() -> None:
    assert template("plain").render(TURNS[:3]) == [
        Segment("Қысқа жауап бер.\nUser: Қазақстанның астанасы қай қала? \nAssistant:", is_answer=False),
        Segment(" Астана.", is_answer=True),
        Segment("\n", is_answer=False),
    ]


def test_answers_have_their_end_where_the_template_has_one() -> None:
    for name, end in (("chatml", "<|im_end|>"), ("gemma", "<end_of_turn>"), ("alpaca", ""), ("plain", "")):
        assert template(name).end == end
        answers = [segment.text for segment in template(name).render(TURNS) if segment.is_answer]
        assert [answer.strip() for answer in answers] == [f"Астана.{end}", f"Rome.\nIt is on the Tiber.{end}"]


CONTENT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
CONVERSATIONS = st.tuples(st.booleans(), st.lists(st.tuples(CONTENT, CONTENT), min_size=1, max_size=4)).map(
    lambda drawn: (
        [("system", "Be brief.")] * drawn[0]
        + [turn for asked, told in drawn[1] for turn in (("user", asked), ("assistant", told))]
    )
)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
@given(turns=CONVERSATIONS)
def test_prompt_and_answer_begin_what_is_rendered(name: str, turns: list[tuple[str, str]]) -> None:
    text = whole(name, turns)
    segments = template(name).render(turns)
    found = template(name).answers(turns)
    assert len(found) == sum(role == "assistant" for role, _ in turns) == sum(each.is_answer for each in segments)
    assert all(one.is_answer != other.is_answer for one, other in pairwise(segments))
    for context, answer in found:
        assert text.startswith(context + answer + template(name).end)
        assert context.endswith(template(name).opening)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_stop_follows_every_answer_but_the_last(name: str) -> None:
    text = whole(name, TURNS)
    for context, answer in template(name).answers(TURNS)[:-1]:
        rest = text.removeprefix(context)
        assert min(rest.find(stop) for stop in template(name).stop if stop in rest) == len(answer)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "has no turns"),
        ([("system", "x")], "a system turn only"),
        ([("assistant", "x")], "turn 1 is of the assistant, and of the user it must be"),
        ([("user", "x"), ("user", "y")], "turn 2 is of the user, and of the assistant it must be"),
        ([("system", "s"), ("user", "x"), ("system", "s")], "turn 3 is of the system"),
    ],
)
def test_what_is_no_conversation_is_refused(turns: list[tuple[str, str]], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        template("gemma").render(turns)


def test_prompts_and_answers_need_their_turns() -> None:
    with pytest.raises(DataError, match="ends with a turn of the user"):
        template("chatml").prompt(TURNS)
    with pytest.raises(DataError, match="no turn of the assistant"):
        template("chatml").answers(TURNS[:2])
    with pytest.raises(DataError, match="turn 2 is an empty answer"):
        template("chatml").answers([("user", "x"), ("assistant", " ")])
    with pytest.raises(UnknownName, match="'chatlm'; did you mean chatml"):
        template("chatlm")
