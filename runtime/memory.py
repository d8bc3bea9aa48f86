"""Keeps the garbage collector's long pauses out of ticks."""

import gc


def settle() -> None:
    """Collect garbage now, and set what is left aside until the next call.

    A full collection looks at every object of every library, for longer than a tick takes; after
    this it looks at what was made since.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
