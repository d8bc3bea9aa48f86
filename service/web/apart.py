"""Threads for what needs files alone, so that a database that stands still holds up none of it.

The framework's own threads are few, and each question to a frozen database holds one for most of a
minute. The kill switch and the alerts are asked for on these.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_THREADS = ThreadPoolExecutor(4, thread_name_prefix="files")


async def apart(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Return what `work` returns; it runs in the caller's context, as `asyncio.to_thread` does."""
    context = contextvars.copy_context()
    call = partial(context.run, work, *arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(_THREADS, call)
