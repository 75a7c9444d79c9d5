"""Every rule, with its id and how much it matters. Findings come in this order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tilbench.errors import UnknownName
from tilbench.lint import answers, options, suites, tasks, texts, writing
from tilbench.lint.finding import Rule
from tilbench.lint.subjects import DatasetSubject, SuiteSubject, TaskSubject

__all__ = ["DATASET_RULES", "SUITE_RULES", "TASK_RULES", "UNUSABLE", "known_rules"]

UNUSABLE = "unusable"
"""The rule of what a run would refuse; it comes with the reading."""
DATASET_RULES: tuple[Rule[DatasetSubject], ...] = (
    Rule("answers-lost", "error", answers.answers_lost),
    Rule("rows-lost", "warning", answers.rows_lost),
    Rule("source-unanswered", "warning", answers.source_unanswered),
    Rule("options-added", "error", options.options_added),
    Rule("options-mixed", "error", options.options_shared),
    Rule("answer-repeated", "error", options.answer_repeated),
    Rule("answer-alike", "warning", options.answer_alike),
    Rule("options-repeated", "warning", options.options_repeated),
    Rule("option-missing", "warning", options.no_text),
    Rule("chance-wrong", "error", answers.chance_misstated),
    Rule("contradiction", "error", texts.contradictions),
    Rule("duplicate-rows", "warning", texts.duplicates),
    Rule("unbalanced-answers", "warning", answers.unbalanced),
    Rule("length-gives-away", "warning", answers.length_gives_away),
    Rule("homoglyphs", "warning", texts.homoglyphs),
    Rule("other-script", "warning", texts.other_script),
    Rule("foreign-letters", "warning", writing.foreign_letters),
    Rule("letters-missing", "warning", writing.letters_missing),
    Rule("invisible", "warning", writing.invisible),
    Rule("not-composed", "warning", writing.not_composed),
    Rule("too-short", "warning", texts.too_short),
    Rule("ends-in-space", "warning", texts.ends_in_space),
    Rule("options-vary", "note", answers.options_vary),
    Rule("double-spaces", "note", texts.double_spaces),
    Rule("apostrophes-vary", "note", writing.apostrophes_vary),
)
TASK_RULES: tuple[Rule[TaskSubject], ...] = (
    Rule("examples-scored", "error", tasks.examples_from_scored_split),
    Rule("examples-repeat", "error", tasks.examples_repeat_rows),
    Rule("task-chance-wrong", "error", answers.task_chance_misstated),
    Rule("prompt-language", "error", tasks.cues_in_other_language),
    Rule("prompt-homoglyphs", "error", tasks.prompt_homoglyphs),
    Rule("prompt-space", "error", tasks.prompt_ends_in_space),
    Rule("prompt-double-spaces", "warning", tasks.prompt_double_spaces),
    Rule("language-differs", "warning", tasks.language_differs),
)
SUITE_RULES: tuple[Rule[SuiteSubject], ...] = (
    Rule("same-task", "error", suites.same_task),
    Rule("macro-repeats", "warning", suites.macro_repeats_rows),
    Rule("macro-overlap", "warning", suites.macro_near_duplicates),
    Rule("trained-on", "error", suites.trained_on),
    Rule("not-read", "note", suites.not_read),
)


def known_rules(names: Sequence[str]) -> Collection[str]:
    """Return the ids, all of which are rules. Raises UnknownName."""
    known = {UNUSABLE, *(rule.id for rules in (DATASET_RULES, TASK_RULES, SUITE_RULES) for rule in rules)}
    for name in names:
        if name not in known:
            raise UnknownName("lint rule", name, known)
    return set(names)
