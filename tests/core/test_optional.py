"""Optional packages are imported without a word, and without what they would fetch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tilbench.checkpoints.optional import load_optional
from tilbench.errors import MissingDependency

# What bitsandbytes does on a processor with bf16 instructions.
FETCHES = """
import logging
try:
    from kernels import get_kernel
    fetched = get_kernel("some/kernel")
except Exception as error:
    fetched = None
    logging.getLogger(__name__).warning("Failed to load: %s", error)
"""


@pytest.mark.parametrize("imported", [False, True])
def test_a_package_that_fetches_compiled_code_is_not_let(
    imported: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kernels.py").write_text("def get_kernel(name):\n    return name\n")
    (tmp_path / "fetching.py").write_text(FETCHES)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("kernels", "fetching"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    if imported:
        __import__("kernels")
    load_optional("fetching", "hf", "a test")
    assert sys.modules.pop("fetching").fetched is None
    assert not caplog.records
    import kernels  # type: ignore[import-not-found]

    assert kernels.get_kernel("it is there for others") == "it is there for others"
    del sys.modules["kernels"]


def test_a_package_that_is_not_there_is_one_line_with_what_to_install() -> None:
    with pytest.raises(MissingDependency, match=r"a test needs .*tilbench\[hf\]"):
        load_optional("no_such_package_anywhere", "hf", "a test")
