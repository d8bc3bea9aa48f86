"""Why a run ended: the one cause that its processes' evidence supports."""

from dataclasses import dataclass, field
from pathlib import Path

from pipelines.ledger.records import Cause, RunClosed
from pipelines.runs.child import Event
from pipelines.runs.processes import signal_name

_LOG_TAIL = 20_000  # bytes of the log that are searched
# What C++, Rust and Python write before they die for want of memory.
_OUT_OF_MEMORY = ("memory allocation of", "std::bad_alloc", "Cannot allocate memory", "MemoryError")


@dataclass(slots=True, kw_only=True)
class Ended:
    """Evidence of how a run went, gathered from events and exit codes."""

    kernel: int | None = None  # process id, once it runs
    current: int | None = None  # index of the cell that is running
    executed: set[int] = field(default_factory=set)  # cells that came to their end
    error: Event | None = None  # a cell raised
    dead: Event | None = None  # the kernel is gone
    unstarted: Event | None = None  # the kernel never answered
    done: bool = False  # papermill came to its end
    child_code: int | None = None  # papermill's own exit code
    timed_out: float | None = None  # seconds, if the deadline passed
    memory_limit: int | None = None  # bytes
    oom_killed: bool = False  # the machine killed some process for memory meanwhile
    interrupted: bool = False  # we were told to stop

    def take(self, event: Event) -> None:
        """Let one event in."""
        match event.event:
            case "kernel":
                self.kernel = event.pid
            case "started":
                self.current = event.cell
            case "executed":
                self.executed.add(event.cell)
            case "error":
                self.error = event
            case "dead":
                self.dead = event
            case "unstarted":
                self.unstarted = event
            case "done":
                self.done = True


def closed_by(ended: Ended, *, seconds: float, log: Path) -> RunClosed:
    """Return status, cause and one sentence.

    Args:
        ended: the evidence.
        seconds: how long the run took.
        log: what papermill and the kernel wrote; searched for the marks of memory exhaustion.
    """
    if ended.done and ended.error is None and ended.dead is None and ended.child_code is not None:
        return RunClosed(status="complete", seconds=seconds)
    cause, message = _cause(ended, log)
    cell = ended.error.cell if ended.error is not None else ended.current
    return RunClosed(status="failed", cause=cause, message=message, cell=cell, seconds=seconds)


def _cause(ended: Ended, log: Path) -> tuple[Cause, str]:
    at = "before its first cell" if ended.current is None else f"in cell {ended.current}"
    if ended.timed_out is not None:
        return "timeout", f"not finished after {ended.timed_out:g} s, stopped {at}"
    if ended.error is not None:
        last = ended.error.text.strip().splitlines()[-1:] or [""]
        raised = f"{ended.error.name}: {last[0]}".rstrip(": ")
        where = f"cell {ended.error.cell} raised {raised}"
        if ended.error.name.endswith("MemoryError"):
            return "out of memory", f"{where}{_limit(ended)}"
        return "cell error", where
    if ended.interrupted:
        return "killed", f"the run was interrupted {at}"
    if ended.unstarted is not None and ended.current is None:
        why = ended.unstarted.text
        return "kernel did not start", f"the kernel did not start: {why}; see {log}"
    code = ended.dead.returncode if ended.dead is not None else ended.child_code
    who = "the kernel" if ended.dead is not None else "the papermill process"
    how = "ended" if code is None else f"ended by {signal_name(code)}"
    if _memory_ran_out(ended, log):
        return "out of memory", f"{who} {how} {at} for want of memory{_limit(ended)}"
    if code is not None and code >= 0:
        return "killed", f"{who} {how} {at}, before the notebook was through; see {log}"
    return "killed", f"{who} {how} {at}"


def _limit(ended: Ended) -> str:
    if ended.memory_limit is None:
        return ""
    return f"; the limit is {ended.memory_limit / 2**20:.0f} MiB"


def _memory_ran_out(ended: Ended, log: Path) -> bool:
    if ended.oom_killed:
        return True
    if ended.memory_limit is None:
        return False
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL))
        tail = file.read().decode(errors="replace")
    return any(mark in tail for mark in _OUT_OF_MEMORY)
