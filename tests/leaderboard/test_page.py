from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from tests.support.records import HOSTILE, accuracy, record, save, score, showcase

from tilbench.results.record import Contamination, Reading
from tilbench_leaderboard.view import literal


@pytest.fixture(autouse=True)
def _own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit puts its script in the place of `__main__`, which processes that later tests start would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def test_what_a_model_did_not_read_stands_beside_its_value(tmp_path: Path) -> None:
    reading = Reading(scored_bytes=1000, lost_bytes=8, context_bytes=50, cut_rows=1, cut_tokens=7)
    save(tmp_path, [record("a", value=score(1.5), reading=reading), record("b", value=score(1.9))])
    app = page(tmp_path)
    table = app.dataframe[0].value
    by_name = table.set_index(table.columns[0])
    assert by_name.loc["a"][("news-bpb", "not read")] == "0.8% of bytes lost; 1 row cut"
    assert by_name.loc["b"][("news-bpb", "not read")] == ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, showcase())
    return tmp_path


def page(folder: Path, **query: str) -> AppTest:
    """Open the page of a folder with query parameters, and see that nothing failed."""

    def script(records: str) -> None:
        from pathlib import Path

        from tilbench_leaderboard.app import main

        main(Path(records))

    app = AppTest.from_function(script, kwargs={"records": str(folder)}, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return settled(app)


def settled(app: AppTest, _touched: object = None) -> AppTest:
    """Run the script again after a widget was touched."""
    app.run()
    assert not app.exception
    return app


def models(app: AppTest) -> list[str]:
    return list(app.dataframe[0].value.iloc[:, 0])


def tasks(app: AppTest) -> set[str]:
    return set(app.dataframe[0].value.columns.get_level_values(0)) - {""}


def words(app: AppTest) -> str:
    """Return everything that is shown outside the table, one part a line."""
    kinds: tuple[Any, ...] = (app.markdown, app.caption, app.warning, app.info, app.code, app.error)
    return "\n".join([part.value for kind in kinds for part in kind] + [fold.label for fold in app.expander])


def test_one_row_a_model_and_a_group_a_task(folder: Path) -> None:
    app = page(folder, suite="kazakh")
    table = app.dataframe[0].value
    assert len(table) == 10
    assert {"belebele", "unt-history", "unt-history (reported)", "wiki-bpb"} < tasks(app)
    assert list(table["belebele"].columns) == ["acc ↑", "95% interval", "chance"]
    by_name = table.set_index(table.columns[0])
    assert by_name.loc["xz"][("belebele", "95% interval")] == "n/a: xz scores documents only"
    assert by_name.loc["uniform-bytes"][("belebele", "chance")] == "25.0% · not above"
    assert "setting window: 256, not 512" in words(app)
    assert "10 models · 7 tasks · 35 records" in app.caption[0].value


def test_filters_narrow_the_table_and_live_in_the_address(folder: Path) -> None:
    app = page(folder)
    assert not app.query_params
    settled(app, app.selectbox(key="language").select("tr-Latn"))
    assert tasks(app) == {"news-bpb"}
    assert app.query_params["language"] == "tr-Latn"
    settled(app, app.selectbox(key="language").select(""))
    settled(app, app.selectbox(key="source").select("reported"))
    assert models(app) == ["til-mini:1b"]
    assert dict(app.query_params) == {"source": "reported"}


def test_the_address_restores_the_view(folder: Path) -> None:
    app = page(folder, suite="turkish", sort="model")
    assert app.selectbox(key="suite").value == "turkish"
    assert models(app) == sorted(models(app))
    odd = page(folder, suite="no such suite", sort="<b>")
    assert odd.selectbox(key="suite").value == ""
    assert not odd.query_params


def test_sorting_knows_which_way_is_better(folder: Path) -> None:
    app = page(folder, suite="kazakh")
    options = app.selectbox(key="sort").options
    assert "wiki-bpb · bpb ↓" in options
    settled(app, app.selectbox(key="sort").select_index(options.index("wiki-bpb · bpb ↓")))
    assert models(app)[0] == "hf:org/kazakh-600m@4f1c"
    settled(app, app.selectbox(key="sort").select_index(options.index("belebele · acc ↑")))
    assert models(app)[0] == "hf:org/multilingual-1b@77aa"
    assert app.selectbox(key="task").value == app.selectbox(key="sort").value


def test_the_commonest_answer_and_numbers_that_do_not_hold(tmp_path: Path) -> None:
    value = accuracy(0.40, 0.05)
    share = score(0.382, None, unit="fraction", direction="none")
    made = record("a", "exam", value, headline="acc").model_copy(update={"values": {"acc": value, "majority": share}})
    save(tmp_path, [made, record("a", value=replace(score(1.0), value=0.2))])
    app = page(tmp_path)
    table = app.dataframe[0].value
    assert list(table["exam"].columns) == ["acc ↑", "95% interval", "chance", "commonest answer"]
    assert table["exam"].iloc[0]["chance"] == "25.0%"
    assert table["exam"].iloc[0]["commonest answer"] == "38.2% · not above"
    assert "records verify" in app.warning[0].value


def test_tasks_that_no_model_ran_are_hidden_until_asked_for(tmp_path: Path) -> None:
    blank = record("a", "exam", status="not run", reason="no data")
    save(tmp_path, [blank])
    app = page(tmp_path)
    assert not app.dataframe
    assert "1 task not run, its data is not on this machine: exam" in words(app)
    save(tmp_path, [record("a", value=score(1.0))])
    settled(app)
    assert tasks(app) == {"news-bpb"}
    settled(app, app.toggle(key="unrun").set_value(True))
    assert tasks(app) == {"news-bpb", "exam"}
    assert "1 task not run" not in words(app)


def test_search_and_switches(folder: Path) -> None:
    app = page(folder, suite="kazakh")
    settled(app, app.text_input(key="search").input("TINY 2000"))
    assert models(app) == ["til-mini:tiny@2000"]
    settled(app, app.text_input(key="search").input("nothing like it"))
    assert not app.dataframe
    settled(app, app.text_input(key="search").input(""))
    settled(app, app.toggle(key="newest").set_value(True))
    assert "old-baseline" not in models(app)
    settled(app, app.toggle(key="details").set_value(False))
    assert "95% interval" not in app.dataframe[0].value.columns.get_level_values(1)


def test_a_model_opens_its_provenance(folder: Path) -> None:
    app = page(folder, suite="kazakh")
    assert not app.expander
    settled(app, app.selectbox(key="model").select("uniform-bytes"))
    assert len(app.expander) == 4
    assert any(":orange-badge[not above chance]" in fold.label for fold in app.expander)
    text = words(app)
    for part in (
        "tilbench run suites/kazakh.yaml --models uniform-bytes",
        "`hf:example/rows@abc`",
        "`data-150`",
        "`150 of 1,000`",
        "`likelihood, version 2`",
        "`window = 512`",
        "`til-bpe-16k`",
        "`<s>`",
        "`2 × x86-64 core`",
        "`torch 2.11.0`",
        "`12.5 s`",
        "`51,200`",
        "`q17`",
        str(folder),
    ):
        assert part in text
    assert '"schema_version":1' in app.json[0].value.replace(" ", "")


def test_rows_that_stand_in_a_training_text_are_shown_with_the_clean_score(tmp_path: Path) -> None:
    found = Contamination(
        against="text/kk/train", fingerprint="f", documents=9, bytes=999, rule="r", n=200, flagged=30,
        clean={"bpb": score(1.75)},
    )  # fmt: skip
    save(tmp_path, [record(value=score(1.5), contamination=found)])
    app = page(tmp_path, suite="kazakh")
    settled(app, app.selectbox(key="model").select("alpha"))
    assert "30 of 200 rows stand in `text/kk/train`; without them 1.75" in words(app)


def test_no_records_is_a_friendly_message(tmp_path: Path) -> None:
    app = page(tmp_path / "none yet")
    assert "no records here yet" in app.info[0].value
    assert app.code[0].value == f"tilbench run suites/quickstart.yaml --out '{tmp_path / 'none yet'}'"


def test_a_damaged_record_is_named_and_the_others_are_shown(folder: Path) -> None:
    (folder / "kazakh" / "news-bpb" / "broken.json").write_text("{", encoding="utf-8")
    app = page(folder)
    assert "broken.json" in app.warning[0].value
    assert "1 file could not be read" in app.warning[0].value
    assert len(models(app)) == 10


def test_a_file_in_place_of_the_folder_is_an_error_in_a_line() -> None:
    assert "is a file" in page(Path(__file__)).error[0].value


def test_text_of_records_is_never_markup(tmp_path: Path) -> None:
    made = []
    for name in HOSTILE:
        evil = record(name, value=score(1.0), settings={name: name}, notes=[name], citation=name)
        model = replace(evil.model, tokenizer=name, prefix=name, lineage=(name,))
        data = evil.task.dataset.model_copy(update={"name": name, "equal_options": [name]})
        task = evil.task.model_copy(update={"dataset": data})
        made.append(evil.model_copy(update={"model": model, "task": task}))
        made.append(record(name, "other", status="n/a", reason=name))
    save(tmp_path, made)
    for name in HOSTILE:
        app = page(tmp_path, sort="model")
        assert name in models(app)
        settled(app, app.selectbox(key="model").select(name))
        assert f"#### {literal(name)}" in words(app)
        parts = [*app.markdown, *app.caption, *app.info]
        assert not any(getattr(part.proto, "allow_html", False) for part in [*app.markdown, *app.caption])
        for text in [part.value for part in parts] + [fold.label for fold in app.expander]:
            left = without_code(text)
            assert not any(other in left for other in HOSTILE)
            assert not re.search(r"<\w|\]\(|\$|:smile:|:red\[|`", left)


def without_code(markdown: str) -> str:
    """Return markdown without its code spans, as CommonMark finds them: equal fences of backticks."""
    return re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", markdown, flags=re.DOTALL)


@pytest.mark.parametrize("text", [*HOSTILE, "`", "``", "a`", "two\nlines", " pad ", "\x1b[2J"])
def test_literal_text_is_one_code_span(text: str) -> None:
    assert without_code(literal(text)) == ""
    assert "\n" not in literal(text)


def test_nothing_is_shown_as_a_dash() -> None:
    assert literal("") == literal(" \n") == "–"


def test_many_tasks_are_shown_a_suite_at_a_time_the_measured_ones_first(root: Path) -> None:
    app = page(root / "leaderboard" / "records")
    (suite,) = [box for box in app.selectbox if box.key == "suite"]
    assert "all suites" not in suite.options
    assert len(tasks(app)) <= 120
    reported = [name.startswith("reported-") for name in suite.options]
    assert reported == sorted(reported)
