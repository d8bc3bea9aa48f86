"""Keeps pauses out of ticks, the garbage collector's and other threads', and out of starting."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TURN = 0.0005  # seconds until a thread that computes lets another one go on, during a session


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
    """Collect garbage first, and none while the block runs; let threads take turns sooner.

    What no cycle holds is freed as ever; a session makes few cycles, and the next call finds them.
    Whoever announces a decision would else wait up to 5 ms for each turn while its orders are sent.
    """
    settle()
    collects, turn = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(min(turn, TURN))
    try:
        yield
    finally:
        sys.setswitchinterval(turn)
        if collects:
            gc.enable()
