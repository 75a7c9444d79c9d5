from __future__ import annotations

import io

from rich.console import Console

from tilbench.cli.table import render
from tilbench.results.table import Board, make_board
from tilbench.testing.records import HOSTILE, entries, record, score, showcase


def shown(board: Board, width: int = 240) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(render(board))
    return stream.getvalue()


def test_an_empty_board_says_what_to_do() -> None:
    assert "tilbench run" in shown(make_board([]))


def test_the_board_with_its_notes() -> None:
    text = shown(make_board(entries(*showcase())))
    for part in (
        "kazakh",
        "turkish",
        "1.021 [1.00, 1.04]",
        "42.5% [39.0, 46.0]",
        "bpb ↓",
        "acc ↑",
        "chance 25.0%",
        "≈ chance",
        "1,235,814,400",
        "n/a: xz scores documents only",
        "not run: no dataset 'kk-news' here",
        "setting window: 256, not 512",
        "unt-history (reported)",
    ):
        assert part in text


def test_names_are_shown_as_they_are() -> None:
    names = [*HOSTILE, "[bold]b[/bold]", "esc\x1b[2Jape"]
    text = shown(make_board(entries(*(record(name, value=score(1.0)) for name in names))))
    for name in (*HOSTILE, "[bold]b[/bold]", "esc�[2Jape"):
        assert name in text
    assert "\x1b" not in text
