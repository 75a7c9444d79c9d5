from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.records import record, save, score

from tilbench.errors import DataError, MissingDependency
from tilbench.results.store import RecordStore
from tilbench_leaderboard import launch
from tilbench_leaderboard.load import Reader


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = RecordStore.read

    def counted(self: RecordStore, path: Path) -> object:
        read.append(path.name[0])
        return original(self, path)

    monkeypatch.setattr(RecordStore, "read", counted)
    save(tmp_path, [record("a", value=score(1.0)), record("b", value=score(2.0))])
    reader = Reader(tmp_path)
    first = reader.read()
    assert reader.read() is first
    assert read == ["a", "b"]
    save(tmp_path, [record("b", value=score(3.0)), record("c", value=score(4.0))])
    second = reader.read()
    assert read == ["a", "b", "b", "c"]
    assert len(second.board.rows) == 3
    for path in RecordStore(tmp_path).paths():
        if path.name.startswith("a"):
            path.unlink()
    assert [row.label for row in reader.read().board.rows] == ["b", "c"]


def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    save(tmp_path, [record("a", value=score(1.0))])
    (tmp_path / "kazakh" / "news-bpb" / "bad.json").write_text("{", encoding="utf-8")
    (tmp_path / "kazakh" / "news-bpb" / "half.json").write_text('{"schema_version": 1}', encoding="utf-8")
    snapshot = Reader(tmp_path).read()
    assert [row.label for row in snapshot.board.rows] == ["a"]
    assert [name in line for name, line in zip(("bad", "half"), snapshot.damaged, strict=True)] == [True, True]


def test_no_folder_is_an_empty_board_and_a_file_an_error(tmp_path: Path) -> None:
    assert Reader(tmp_path / "nowhere").read().board.columns == ()
    with pytest.raises(DataError):
        Reader(Path(__file__)).read()


def test_the_command_serves_this_machine_alone_and_sends_nothing(tmp_path: Path) -> None:
    words = launch.command(tmp_path, port=8600, headless=True)
    assert words[1:4] == ["-m", "streamlit", "run"]
    assert Path(words[4]).is_file()
    settings = words[5 : words.index("--")]
    assert "--server.address=localhost" in settings
    assert "--browser.gatherUsageStats=false" in settings
    assert "--server.port=8600" in settings
    assert "--server.headless=true" in settings
    assert words[-2:] == ["--records", os.fspath(tmp_path.resolve())]
    assert not any("server.port" in word for word in launch.command(tmp_path))


def test_without_streamlit_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"tilbench\[leaderboard\]"):
        launch.command(tmp_path, None, False)
