"""The recorded door: where a person looks on, returns are computed for recorded trials alone.

Inside a kernel, at a prompt, or in the name of a run, nobody gets at returns of a configuration
that the ledger does not know. Who has recorded it, or judges what is recorded, says so by
`answered_for`. This is a fence, not a vault: docs/decisions/0003 says what it cannot stop, and
reads are charged regardless.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pipelines.errors import EvaluationUnrecorded

_ANSWERED: ContextVar[bool] = ContextVar("sluice_answered_for", default=False)


@contextmanager
def answered_for() -> Iterator[None]:
    """Let returns be computed meanwhile: the ledger knows of them."""
    token = _ANSWERED.set(True)
    try:
        yield
    finally:
        _ANSWERED.reset(token)


def in_kernel() -> bool:
    """Say whether this process, or the one it was forked from, serves a notebook."""
    kernels = sys.modules.get("ipykernel.kernelapp")
    return kernels is not None and bool(kernels.IPKernelApp.initialized())


def at_a_prompt() -> bool:
    """Say whether somebody types into this process: Python's own prompt, or IPython's."""
    shell = sys.modules.get("IPython.core.interactiveshell")
    typed = shell is not None and bool(shell.InteractiveShell.initialized())
    return typed or hasattr(sys, "ps1")


def require_record(what: str, *, run: str | None = None) -> None:
    """Refuse to compute returns that no trial records.

    Args:
        what: the function that was called.
        run: in whose name the caller's workspace stands; None = in nobody's.

    Raises:
        EvaluationUnrecorded: in a kernel, at a prompt or in a run, outside `answered_for`.
    """
    if not _ANSWERED.get() and (run is not None or in_kernel() or at_a_prompt()):
        kernel = "in a kernel" if in_kernel() else "at a prompt"
        where = kernel if run is None else f"in run {run}"
        raise EvaluationUnrecorded(
            f"{what} was called {where}, and no trial records it; call "
            "pipelines.research.submit(study, strategy), which counts the configuration first and "
            "hands the same figures over"
        )
