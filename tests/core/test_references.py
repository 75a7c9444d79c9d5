"""`FOLDER@STEP` and `hf:org/name@revision` are read in one place, in the same way by every command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilbench.checkpoints.folder import RUN, model_folder
from tilbench.config.references import split_folder, split_hub, split_step, without_step
from tilbench.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("reference", "name", "step"),
    [("run", "run", None), ("run@40", "run", 40), ("a@1/run@40", "a@1/run", 40), ("run:x@0", "run:x", 0)],
)
def test_a_step_follows_the_last_at_sign(reference: str, name: str, step: int | None) -> None:
    assert split_step(reference) == (name, step)
    assert without_step(reference) == name


def test_a_step_is_a_number() -> None:
    with pytest.raises(ConfigError, match="'last', not a number"):
        split_step("run@last")


@pytest.mark.parametrize("name", ["run", "run@3", "run@main"])
def test_a_folder_that_is_there_as_written_has_no_step(name: str, tmp_path: Path) -> None:
    run = tmp_path / name
    run.mkdir()
    assert split_folder(str(run)) == (run, None)
    assert model_folder(str(run)) is None  # it holds no model
    (run / RUN).write_text("{}", encoding="utf-8")
    assert model_folder(str(run)) == (run, None)
    assert model_folder(f"{run}@7") == split_folder(f"{run}@7") == (run, 7)
    with pytest.raises(ConfigError, match="'last', not a number"):
        model_folder(f"{run}@last")


@pytest.mark.parametrize("reference", ["", "@3", "no/such@3", "org/name@main", "hf:org/name@main"])
def test_what_is_no_folder_of_ours_is_left_to_others(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / RUN).write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert model_folder(reference) is None


def test_a_name_on_the_hub_has_a_revision_or_none() -> None:
    assert split_hub("hf:org/name@v1") == ("org/name", "v1")
    assert split_hub("hf:org/name") == split_hub("hf:org/name@") == ("org/name", None)
    assert split_hub("org/name@v1") is None
    with pytest.raises(ConfigError, match="tilbench import hf:org/name"):
        split_folder("hf:org/name")


def test_references_are_taken_apart_in_one_module() -> None:
    files = [path for folder in ("core", "plugins", "leaderboard") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 300
    found = {path.name for path in files if 'partition("@")' in path.read_text(encoding="utf-8")}
    assert found == {"references.py"}
