"""The page and the notebook on the Python API: they run, pass type checking against the wheel, leave nothing out."""

from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tilbench
from tilbench.results.frame import records_frame

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.py"
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
WRONG = {
    "tilbench.run_suit('kazakh')": "attr-defined",
    "tilbench.run_suite(3)": "arg-type",
    "tilbench.run_suite('kazakh', devise='cpu')": "call-arg",
    "tilbench.open_model('xz').bits_per_byte(3)": "arg-type",
    "len(tilbench.compare('records', 'a', 'b').tasks[0].winer)": "attr-defined",
}
"""Mistakes, and what a type checker calls them."""


def test_the_page_names_every_function_and_column() -> None:
    functions = set(tilbench.__all__) - {"TilbenchError", "hookimpl"}
    assert functions <= set(re.findall(r"^\| `(\w+)\(", PAGE, flags=re.MULTILINE))
    assert set(records_frame([]).columns) <= set(re.findall(r"`(\w+)`", PAGE))


def test_every_dotted_name_of_the_page_is_there() -> None:
    named = set(re.findall(r"`(tilbench(?:\.\w+)+)`", PAGE))
    assert len(named) > 5
    for name in named:
        assert pkgutil.resolve_name(name) is not None


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    script = NOTEBOOK.read_text(encoding="utf-8")
    assert script.count("\n# %%") > 4
    command = [sys.executable, "-W", "error::FutureWarning", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for said in ("loss", "bpb-kk", "runs/notebook@0", "p_holm", "logprob="):
        assert said in done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment with the wheel in it; what it depends on is that of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    here, there = (
        subprocess.run([each, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
        for each in (sys.executable, python)
    )
    subprocess.run([*pip, "install", "--no-deps", "--target", there, str(wheel)], check=True)
    Path(there, "dependencies.pth").write_text(f"{here}\n", encoding="utf-8")
    found = subprocess.run(
        [python, "-c", "import tilbench; print(tilbench.__file__)"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert Path(found.stdout.strip()).is_relative_to(there)
    assert Path(there, "tilbench", "py.typed").is_file()
    return python


@pytest.mark.long
def test_scripts_pass_strict_type_checking_against_the_wheel(environment: Path, tmp_path: Path) -> None:
    examples = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(examples) > 4
    (tmp_path / "notebook.py").write_text(NOTEBOOK.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "page.py").write_text("\n".join(examples), encoding="utf-8")
    mistakes = "".join(f"{line}\n" for line in WRONG)
    (tmp_path / "wrong.py").write_text(f"import tilbench\n{mistakes}", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(environment)]
    command += ["--config-file", os.devnull, "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        [*command, "notebook.py", "page.py", "wrong.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    found = re.findall(r"^(\S+?):(\d+): error: .*\[([a-z-]+)\]$", done.stdout, flags=re.MULTILINE)
    assert found == [("wrong.py", str(line), code) for line, code in enumerate(WRONG.values(), start=2)], done.stdout
