"""Where commands may write: nowhere that holds anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilbench.errors import DataError
from tilbench.paths import refuse_existing, refuse_filled


def make(kind: str, place: Path) -> None:
    match kind:
        case "file":
            place.touch()
        case "folder":
            place.mkdir()
        case "filled":
            place.mkdir()
            (place / "file").touch()
        case "link to nothing":
            place.symlink_to(place.with_name("nothing"))


@pytest.mark.parametrize("kind", ["file", "folder", "filled", "link to nothing"])
@pytest.mark.parametrize(
    "command",
    [
        ("export", "runs/a", "--to", "pt", "--out", "out"),
        ("merge", "runs/a", "--out", "out"),
        ("release", "runs/a", "--out", "out"),
        ("import", "weights.pt", "--out", "out"),
    ],
    ids=lambda command: command[0],
)
def test_a_command_that_makes_a_folder_refuses_what_is_there(
    kind: str, command: tuple[str, ...], tmp_path: Path, tilbench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(kind, tmp_path / "out")
    with pytest.raises(DataError) as error:
        refuse_existing(Path("out"))
    done = tilbench(*command)
    assert (done.status, done.err) == (2, f"error: {error.value}\n")
    assert str(error.value) == "out exists; name a folder that does not with --out"


@pytest.mark.parametrize(("kind", "fine"), [("nothing", True), ("folder", True), ("file", False), ("filled", False)])
def test_an_empty_folder_may_be_filled(kind: str, fine: bool, tmp_path: Path) -> None:
    make(kind, tmp_path / "out")
    if fine:
        refuse_filled(tmp_path / "out")
        return
    with pytest.raises(DataError, match="is not an empty folder; name another with --out"):
        refuse_filled(tmp_path / "out")
