"""SIGINT and SIGTERM as a request to finish the step under way."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

__all__ = ["StopRequests"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequests:
    """While entered, the first SIGINT or SIGTERM only sets `name`; a second one acts as it did before.

    Outside the main thread, where Python cannot handle signals, nothing is changed.
    """

    name = ""
    """The signal that came, such as `SIGINT`; empty while none has."""

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._request) for each in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        while self._before:
            each, handler = self._before.popitem()
            # None: the handler was not set from Python, and cannot be set back from it.
            signal.signal(each, signal.SIG_DFL if handler is None else handler)
