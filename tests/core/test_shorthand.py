"""The short forms of a suite's file: what they stand for, and the line of every fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilbench.config.suite import Suite
from tilbench.config.yaml import load
from tilbench.errors import ConfigError

SHORT = """\
name: s
defaults:
  metric: choice
  language: kk-Cyrl
  limit: 9
  settings: {form: letter, cues: {question: Q}}
tasks:
  - {name: text, metric: bpb, dataset: d}
  - {name: plain, dataset: d}
  - {name: cloze, dataset: d, limit: null, settings: {form: cloze, cues: {answer: A}}}
  - over:
      subject: [biology, physics]
      form: [letter, cloze]
    name: exam-$subject-$form
    dataset: exam/$subject/test
    settings: {form: $form, instruction: "$$5 for ${subject}s"}
  - over:
      language:
        - &kk {code: kk, tag: kk-Cyrl, window: 64}
        - {code: tr, tag: tr-Latn, window: 128}
    name: bpb-$language.code
    metric: bpb
    dataset: {path: "${language.code}.txt", kind: documents}
    language: $language.tag
    settings: {window: $language.window}
  - over:
      tongue: [*kk]
    name: again-$tongue.code
    dataset: d
macros:
  - {name: m, tasks: [plain, exam-*, plain], value: acc}
"""

LONG = """\
name: s
tasks:
  - {name: text, metric: bpb, dataset: d, language: kk-Cyrl, limit: 9}
  - {name: plain, metric: choice, dataset: d, language: kk-Cyrl, limit: 9,
     settings: {form: letter, cues: {question: Q}}}
  - {name: cloze, metric: choice, dataset: d, language: kk-Cyrl,
     settings: {form: cloze, cues: {question: Q, answer: A}}}
  - {name: exam-biology-letter, metric: choice, dataset: exam/biology/test, language: kk-Cyrl, limit: 9,
     settings: {form: letter, cues: {question: Q}, instruction: "$5 for biologys"}}
  - {name: exam-biology-cloze, metric: choice, dataset: exam/biology/test, language: kk-Cyrl, limit: 9,
     settings: {form: cloze, cues: {question: Q}, instruction: "$5 for biologys"}}
  - {name: exam-physics-letter, metric: choice, dataset: exam/physics/test, language: kk-Cyrl, limit: 9,
     settings: {form: letter, cues: {question: Q}, instruction: "$5 for physicss"}}
  - {name: exam-physics-cloze, metric: choice, dataset: exam/physics/test, language: kk-Cyrl, limit: 9,
     settings: {form: cloze, cues: {question: Q}, instruction: "$5 for physicss"}}
  - {name: bpb-kk, metric: bpb, dataset: {path: kk.txt, kind: documents}, language: kk-Cyrl, limit: 9,
     settings: {window: 64}}
  - {name: bpb-tr, metric: bpb, dataset: {path: tr.txt, kind: documents}, language: tr-Latn, limit: 9,
     settings: {window: 128}}
  - {name: again-kk, metric: choice, dataset: d, language: kk-Cyrl, limit: 9,
     settings: {form: letter, cues: {question: Q}}}
macros:
  - {name: m, value: acc, tasks: [plain, exam-biology-letter, exam-biology-cloze, exam-physics-letter,
     exam-physics-cloze]}
"""


def suite(folder: Path, text: str, *overrides: str) -> Suite:
    path = folder / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, Suite, overrides)


def fault(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        suite(folder, text, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_short_form_is_the_long_one(tmp_path: Path) -> None:
    assert suite(tmp_path, SHORT) == suite(tmp_path, LONG)


def test_a_placeholder_alone_keeps_the_type_of_its_value(tmp_path: Path) -> None:
    (window,) = [task.settings["window"] for task in suite(tmp_path, SHORT).tasks if task.name == "bpb-kk"]
    assert window == 64


def test_without_over_a_dollar_sign_is_a_dollar_sign(tmp_path: Path) -> None:
    text = "name: s\ntasks:\n  - {name: t, metric: choice, dataset: d, settings: {instruction: $5 $name}}\n"
    assert suite(tmp_path, text).tasks[0].settings == {"instruction": "$5 $name"}


def test_overrides_change_what_the_file_writes(tmp_path: Path) -> None:
    changed = suite(tmp_path, SHORT, "defaults.limit=3", "tasks.3.over.subject=[law]", "tasks.3.shots=0")
    assert [task.name for task in changed.tasks if task.name.startswith("exam")] == [
        "exam-law-letter",
        "exam-law-cloze",
    ]
    assert {task.name: task.limit for task in changed.tasks}["text"] == 3
    assert fault(tmp_path, SHORT, "tasks.3.limt=3").startswith("--set tasks.3.limt=3: unknown field 'tasks.3.limt'")
    assert fault(tmp_path, SHORT, "defaults.shot=3").startswith("--set defaults.shot=3: unknown field 'defaults.shot'")


TASKS = "tasks:\n  - {name: a, dataset: d}\n  - {name: b, dataset: d, limit: 2}\n"
OVER = "name: s\ntasks:\n  - name: t-$form\n    metric: choice\n    dataset: d\n    over:\n      form: "


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (
            f"name: s\ndefaults:\n  metric: bpb\n  limt: 3\n{TASKS}",
            4,
            "unknown field 'defaults.limt'; did you mean limit?",
        ),
        (f"name: s\ndefaults:\n  metric: bpb\n  limit: 0\n{TASKS}", 4, "'defaults.limit' is 0"),
        ("name: s\ndefault:\n  metric: bpb\ntasks: []\n", 2, "did you mean defaults?"),
        (f"name: s\ndefaults:\n  metric: bpb\n  name: t\n{TASKS}", 4, "'name' belongs to one task"),
        (f"name: s\ndefaults:\n  metric: bpb\n  over: {{a: [b]}}\n{TASKS}", 4, "'over' belongs to one task"),
        (OVER + f"[{', '.join(map(str, range(10_001)))}]\n", 6, "'over' makes 10,001 tasks of this one"),
        (f"name: s\ndefaults: [bpb]\n{TASKS}", 2, "'defaults' is a mapping of a task's fields"),
        (f"name: s\ndefaults:\n  settings: {{form: letter}}\n{TASKS}", 3, "set 'defaults.metric' as well"),
        ("name: s\ndefaults:\n  metric: bpb\nlm_eval: [a]\n", 3, "no task takes the default 'metric'"),
        (
            "name: s\ndefaults:\n  metric: choice\n  settings:\n    form: letter\n    cues: {}\ntasks:\n"
            "  - {name: a, dataset: d, settings: {form: cloze}}\n",
            5,
            "no task takes the default 'settings.form'",
        ),
        (
            "name: s\ndefaults:\n  metric: choice\n  settings: {form: letter}\n"
            "tasks:\n  - {name: a, metric: bpb, dataset: d}\n",
            3,
            "no task takes the default 'metric'",
        ),
        (OVER + "letter\n", 7, "'over.form' is a list of values"),
        (OVER + "[]\n", 7, "'over.form' is a list of values"),
        (OVER + "[[a]]\n", 7, "'over.form.0' is a text, a number, or a mapping of these"),
        (OVER + "[a]\n      subject: [b]\n", 8, "no field of this task has $subject"),
        (OVER + "[a, a]\n", 3, "two of the tasks have the name 't-a'"),
        (OVER + "[no]\n", 3, "put it in quotes"),
        (OVER + "[Letter]\n", 3, "'tasks.0.name' is 't-Letter': use lower-case letters"),
        (OVER + "[{id: a}]\n", 3, "nothing in 'over' is called '$form'; did you mean $form.id?"),
        (OVER + "[a]\n    summary: $from\n", 8, "nothing in 'over' is called '$from'; did you mean $form?"),
        (OVER + "[a]\n    settings: {instruction: costs $5}\n", 8, "write $$ for a dollar sign"),
        (OVER + "[a]\n    settings:\n      instruction: $form.id\n", 9, "nothing in 'over' is called '$form.id'"),
        (OVER + "[a, b]\n    limit: -1\n", 8, "'tasks.0.limit' is -1"),
        ("name: s\ntasks:\n  - {name: t, metric: bpb, dataset: d, over: [a]}\n", 3, "'over' is a mapping of names"),
        ("name: s\ntasks:\n  - {name: t, metric: bpb, dataset: d, over: {A: [a]}}\n", 3, "'over' has the name 'A'"),
        ("name: s\ntasks:\n  - {name: t, metric: bpb, dataset: d, ovr: {a: [a]}}\n", 3, "did you mean over?"),
        (
            OVER + "[a, b]\nmacros:\n  - name: m\n    value: acc\n    tasks: [u-*]\n",
            11,
            "'u-*' matches no name of a task",
        ),
    ],
)
def test_a_fault_in_a_short_form_names_the_line_that_is_written(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    message = fault(tmp_path, text)
    assert says in message
    assert message.startswith(f"{tmp_path / 's.yaml'}:{line}: ")


@pytest.mark.parametrize(
    "text",
    [
        "name: s\ndefaults: &d\n  metric: bpb\n  settings: *d\n",
        "name: s\ntasks:\n  - &t\n    name: a\n    settings: [*t]\n",
        f"name: s\ntasks: {'[' * 60}{']' * 60}\n",
        f"name: s\ntasks: {'[' * 5000}{']' * 5000}\n",
    ],
)
def test_a_file_without_a_last_level_is_refused(tmp_path: Path, text: str) -> None:
    assert "write it flatter, and use no alias inside of what it stands for" in fault(tmp_path, text)


def test_aliases_of_aliases_are_not_written_out(tmp_path: Path) -> None:
    lines = ["name: s", "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 200,000 values, counting each use of an alias" in fault(tmp_path, "\n".join(lines))
