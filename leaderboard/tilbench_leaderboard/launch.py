"""The command that serves the page."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from tilbench.errors import MissingDependency

__all__ = ["command"]

_SETTINGS = {
    "server.address": "localhost",
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": "false",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "theme.base": "light",
    "theme.primaryColor": "#0f766e",
    "theme.textColor": "#1c2733",
    "theme.secondaryBackgroundColor": "#f3f6f7",
}


def command(records: Path, port: int | None = None, headless: bool = False) -> list[str]:
    """Return the command that serves the page of a folder of records on this machine alone.

    It sends no usage statistics. headless: do not open a browser. Raises MissingDependency without streamlit.
    """
    for package in ("streamlit", "altair", "pandas"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(package, "leaderboard", "the leaderboard page")
    settings = {**_SETTINGS, "server.headless": str(headless).lower()}
    if port is not None:
        settings["server.port"] = str(port)
    flags = [f"--{name}={value}" for name, value in settings.items()]
    app = Path(__file__).with_name("app.py")
    return [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(app),
        *flags,
        "--",
        "--records",
        str(records.resolve()),
    ]
