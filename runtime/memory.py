"""Keeps the garbage collector's pauses out of ticks, and out of starting."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def settle() -> None:
    """Collect garbage now, and set what is left aside until the next call.

    A full collection looks at every object of every library, for longer than a tick takes; after
    this it looks at what was made since.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@contextmanager
def starting() -> Iterator[None]:
    """Collect no garbage while a process loads what it will keep, and set that aside.

    Libraries make objects by the hundred thousand and hardly a cycle; looking for some again and
    again is a sixth of the time that loading takes.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Collect garbage first, and none while the block runs.

    What no cycle holds is freed as ever; a session makes few cycles, and the next call finds them.
    """
    settle()
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
