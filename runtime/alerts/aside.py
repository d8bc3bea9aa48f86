"""Work on a thread of its own, so that what hangs holds up nobody, not even the process's end."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def aside(work: Callable[[], T]) -> "Future[T]":
    """Begin work on a new thread that does not outlive the process; return its result to come."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # whoever asks for the result is told
            future.set_exception(error)

    threading.Thread(target=run, name="aside", daemon=True).start()
    return future
