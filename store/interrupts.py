"""Ctrl-C and SIGTERM wait for a transaction to end: cut short, one leaves a connection that nobody can use or close."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Take what asks this process to end when the block has ended; who asks twice is not kept waiting.

    Signals come to the main thread alone, so that others have nothing to put off.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}

    def put_off(number: int, frame: FrameType | None) -> None:
        if number in asked:
            handlers[number](number, frame)
        asked.append(number)

    for number in SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler):  # the others end the process at once, or do nothing
            handlers[number] = handler
            signal.signal(number, put_off)
    try:
        yield
    finally:
        for taken, handler in handlers.items():
            signal.signal(taken, handler)
        if asked:
            handlers[asked[0]](asked[0], None)
