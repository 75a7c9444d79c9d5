"""Says which imports break a rule about plugins. The plugins are the folders that are there: no list names them.

The layers inside the core are import-linter's, in pyproject.toml. Imports under `TYPE_CHECKING` count.

    python tests/packaging/import_rules.py [ROOT]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import grimp

CORE, PAGE = "tilbench", "tilbench_leaderboard"


def public(root: Path) -> list[str]:
    """Return the modules of the core that CONTRIBUTING.md lets plugins import; `*` stands for any name."""
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("\n## What a plugin may import\n")[1].split("\n## ")[0]
    return re.findall(r"`(tilbench[\w.*]*)`", section)


def broken(root: Path) -> Iterator[str]:
    """Yield `rule: importer imports imported` for each import that breaks a rule, in the checkout `root`."""
    sys.path[:0] = [str(root / folder) for folder in ("core", "plugins", "leaderboard")]
    plugins = {path.parent.name for path in (root / "plugins").glob("*/__init__.py")}
    allowed = public(root)
    graph = grimp.build_graph(CORE, PAGE, *sorted(plugins), cache_dir=None)
    for importer in sorted(graph.modules):
        ours = importer.split(".")[0]
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            theirs = imported.split(".")[0]
            if ours == theirs:
                continue
            if theirs in plugins:
                rule = "plugins do not import each other" if ours in plugins else f"{ours} imports no plugin"
            elif theirs == PAGE:
                rule = "nothing imports the leaderboard"
            elif ours in plugins and not any(fnmatchcase(imported, pattern) for pattern in allowed):
                rule = "plugins import the core's public modules (CONTRIBUTING.md)"
            else:
                continue
            yield f"{rule}: {importer} imports {imported}"


if __name__ == "__main__":
    found = list(broken(Path(*sys.argv[1:]).resolve()))
    sys.exit("\n".join(found) or 0)
