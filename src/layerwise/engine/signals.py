"""Ctrl-C and SIGTERM as a wish to stop, asked after at a place where stopping is safe."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def wish_to_stop() -> Iterator[Callable[[], bool]]:
    """Within it, the first signal is only noted and the second acts as it always does.

    Yields:
        A function that says whether a signal came. Outside the main thread, where Python takes no signals, it never
        does.

    Example:
        >>> with wish_to_stop() as asked:
        ...     asked()
        False
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    # None is a handler that was not set from Python and cannot be set again from it.
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in _SIGNALS:
        signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
