"""Schemas, YAML with line numbers, overrides and references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilbench.config.references import parse_spec
from tilbench.config.suite import Suite
from tilbench.config.yaml import apply_overrides, load, merge, read
from tilbench.errors import ConfigError

TASK = "- {name: t, metric: bpb, dataset: d}\n"


def suite(tmp_path: Path, text: str, *overrides: str) -> Suite:
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, Suite, overrides)


def fault(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        suite(tmp_path, text, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (
            "name: s\ntasks:\n  - {name: t, metrc: bpb, dataset: d}\n",
            3,
            "unknown field 'tasks.0.metrc'; did you mean metric?",
        ),
        ("name: s\ntasks:\n  - name: t\n    dataset: d\n", 3, "field 'tasks.0.metric' is missing"),
        ("name: s\ntasks:\n  - name: t\n    metric: bpb\n    dataset: d\n    limit: -1\n", 6, "'tasks.0.limit' is -1"),
        ("name: s\ntasks:\n  - name: t\n    metric: bpb\n    dataset: {hub: a/b, spit: c}\n", 5, "did you mean split?"),
        ("name: s\ntasks:\n\t- name: t\n", 3, "a tab; YAML is indented with spaces"),
        ("name: s\nname: r\ntasks:\n", 2, "field 'name' stands here a second time"),
        ("name: s\ntasks: [\n", 3, "not YAML"),
        (f"name: s\ntasks:\n  {TASK}  {TASK}", 2, "two have the name 't'"),
        ("name: s\ntrain: sometimes\ntasks:\n  " + TASK, 2, "'never' or 'auto'"),
    ],
)
def test_a_fault_names_file_line_field_and_what_is_allowed(tmp_path: Path, text: str, line: int, says: str) -> None:
    message = fault(tmp_path, text)
    assert message.startswith(f"{tmp_path / 's.yaml'}:{line}: ")
    assert says in message


@pytest.mark.parametrize("content", [b"", b"name: \xff\n", None])
def test_a_file_that_is_no_suite_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "s.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=str(path)):
        load(path, Suite)


def test_yaml_builds_no_objects(tmp_path: Path) -> None:
    assert "not YAML" in fault(tmp_path, "name: !!python/object/apply:os.getcwd []\n")


def test_shots_need_examples_from_elsewhere(tmp_path: Path) -> None:
    task = "name: s\ntasks:\n  - {name: t, metric: choice, dataset: d, shots: 2"
    assert "'shots' needs 'examples'" in fault(tmp_path, task + "}\n")
    assert "the dataset that is scored" in fault(tmp_path, task + ", examples: d}\n")


def test_an_override_reaches_into_lists_and_is_checked_by_the_schema(tmp_path: Path) -> None:
    text = f"name: s\ntasks:\n  {TASK}"
    assert suite(tmp_path, text, "tasks.0.limit=3", "seed=7").tasks[0].limit == 3
    assert "unknown field 'tasks.0.limt'" in fault(tmp_path, text, "tasks.0.limt=3")
    assert "not an index" in fault(tmp_path, text, "tasks.5.limit=3")
    assert "write path.to.field=value" in fault(tmp_path, text, "seed")


tables = st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3))


@given(tables, tables)
def test_merging_keeps_every_field_that_changes_leave_alone(base: Any, changes: Any) -> None:
    merged = merge(base, changes)
    assert merge(merged, changes) == merged
    if isinstance(base, dict) and isinstance(changes, dict):
        assert set(merged) == set(base) | set(changes)
        assert all(merged[key] == base[key] for key in base.keys() - changes.keys())


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.integers())
def test_an_override_puts_exactly_one_value(path: list[str], value: int) -> None:
    data = apply_overrides({}, [f"{'.'.join(path)}={value}"])
    for part in path:
        data = data[part]
    assert data == value


@pytest.mark.parametrize(
    ("text", "parts"),
    [("til", ("til", "", None)), ("til:tiny", ("til", "tiny", None)), ("til:tiny@60", ("til", "tiny", 60))],
)
def test_a_spec_reference_has_name_variant_and_step(text: str, parts: tuple[str, str, int | None]) -> None:
    asked = parse_spec(text)
    assert (asked.name, asked.variant, asked.step) == parts


@pytest.mark.parametrize("text", ["til@last", ":tiny", "a:b:c"])
def test_a_bad_spec_reference_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_spec(text)


@pytest.mark.parametrize("text", ["1e-06", "1E5", "-2.5e+3", ".5e1", "3.0"])
def test_numbers_are_those_of_json(tmp_path: Path, text: str) -> None:
    """PyYAML reads 1e-06 as text, by YAML 1.1: https://yaml.org/spec/1.2.2/#1032-tag-resolution."""
    number = float(text)
    path = tmp_path / "numbers.yaml"
    path.write_text(f"alone: {text}\nlisted: [{text}, {{deep: {text}}}]\nquoted: '{text}'\n", encoding="utf-8")
    assert read(path).data == {"alone": number, "listed": [number, {"deep": number}], "quoted": text}
    assert apply_overrides({}, [f"a.b={text}"]) == {"a": {"b": number}}
    assert apply_overrides({}, [f'a={{"rate": {text}, "rates": [{text}], "name": "{text}"}}']) == {
        "a": {"rate": number, "rates": [number], "name": text}
    }


@pytest.mark.parametrize("text", ["e5", "1e", "1e5x", "v1e5", "1e-", "1e5.5"])
def test_what_is_no_number_stays_text(text: str) -> None:
    assert apply_overrides({}, [f"a={text}"]) == {"a": text}
