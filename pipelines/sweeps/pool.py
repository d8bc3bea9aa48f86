"""A pool of warm worker processes that survives the death of any of them."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeAlias

from pipelines.errors import SweepFailed
from pipelines.runs.processes import kill_group, signal_name
from pipelines.sweeps.messages import (
    Outcome,
    Ready,
    Refused,
    Start,
    Task,
    receive_outcome,
    send,
)

_STARTS_BEFORE_GIVING_UP = 3  # deaths in a row before a worker was ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed:
    """A worker died with a configuration in hand; its trial stays open in the ledger."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """A configuration took too long and its worker was killed."""

    number: int
    reason: str


Ended: TypeAlias = Outcome | Crashed | Overdue


@dataclass(slots=True, kw_only=True)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    ready: bool = False
    task: Task | None = None
    since: float = 0.0  # monotonic seconds; when the task was handed out


class WorkerPool:
    """Evaluates tasks in `workers` processes; use as a context manager, nothing is left running."""

    def __init__(
        self,
        start: Start,
        *,
        workers: int,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        task_timeout_s: float,
    ) -> None:
        """Start the processes.

        Args:
            start: what each worker loads first.
            workers: how many, at least 1.
            environment: of the workers.
            folder: working directory of the workers.
            log: receives what they print.
            task_timeout_s: seconds after which a task's worker is killed.
        """
        if workers < 1:
            raise SweepFailed(f"a sweep needs at least one worker, was given {workers}")
        self._start, self._environment, self._log = start, dict(environment), log
        self._folder, self._timeout_s = folder, task_timeout_s
        self._failed_starts = 0
        self._workers: list[_Worker] = []
        self._workers.extend(self._new_worker() for _ in range(workers))

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            self._end(worker)

    def _new_worker(self) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs, self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.sweeps.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                cwd=self._folder,
                env=self._environment,
            )
        connection = Connection(ours.detach())
        with suppress(OSError):  # a worker that is dead already is noticed when it is read
            send(connection, self._start)
        return _Worker(process=process, connection=connection)

    def _end(self, worker: _Worker) -> int:
        """Kill a worker and what it started; return its exit code."""
        worker.connection.close()
        kill_group(worker.process.pid)
        return worker.process.wait()

    def first_ready(self) -> Ready:
        """Wait until one worker has loaded everything, and return what it found.

        Raises:
            SweepFailed: workers die before they are ready; the text quotes their last words.
        """
        while True:
            for message in self._messages(None):
                match message:
                    case Ready():
                        return message
                    case Refused():
                        raise SweepFailed(message.text)

    def idle(self) -> bool:
        """Say whether a worker is ready for a task."""
        return any(worker.ready and worker.task is None for worker in self._workers)

    def hand_out(self, task: Task) -> None:
        """Give a task to an idle worker; SweepFailed if none is idle."""
        for worker in self._workers:
            if worker.ready and worker.task is None:
                worker.task, worker.since = task, time.monotonic()
                with suppress(OSError):  # its death is noticed when it is read
                    send(worker.connection, task)
                return
        raise SweepFailed("no worker is idle; wait for one to end its task")

    def ended(self) -> list[Ended]:
        """Wait for news and return the tasks that ended; empty if a worker became ready instead."""
        busy = [worker.since for worker in self._workers if worker.task is not None]
        left = None if not busy else max(0.0, min(busy) + self._timeout_s - time.monotonic())
        news: list[Ended] = []
        for message in self._messages(left):
            if isinstance(message, Refused):
                raise SweepFailed(message.text)
            if not isinstance(message, Ready):
                news.append(message)
        return news + self._overdue()

    def _messages(self, timeout_s: float | None) -> Iterator[Ready | Refused | Ended]:
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection), timeout_s):
            assert isinstance(connection, Connection)
            worker = by_connection[connection]
            try:
                message = receive_outcome(connection)
            except (EOFError, OSError):
                yield from self._buried(worker)
                continue
            if isinstance(message, Ready):
                worker.ready, self._failed_starts = True, 0
            else:
                worker.task = None
            yield message

    def _buried(self, worker: _Worker) -> Iterator[Crashed]:
        """Replace a dead worker; tell which task died with it."""
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(5.0)  # its own exit code, before we send a signal
        code = self._end(worker)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS_BEFORE_GIVING_UP:
                raise SweepFailed(
                    f"workers end before they are ready ({signal_name(code)}); {self._last_words()}"
                )
        task = worker.task
        self._workers[self._workers.index(worker)] = self._new_worker()
        if task is not None:
            yield Crashed(number=task.number, reason=f"the worker ended by {signal_name(code)}")

    def _overdue(self) -> list[Ended]:
        """Kill and replace workers whose task takes too long."""
        news: list[Ended] = []
        now = time.monotonic()
        for index, worker in enumerate(self._workers):
            if worker.task is None or now - worker.since < self._timeout_s:
                continue
            reason = f"not finished after {self._timeout_s:g} s, stopped"
            news.append(Overdue(number=worker.task.number, reason=reason))
            self._end(worker)
            self._workers[index] = self._new_worker()
        return news

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"last words: {lines[-1]}" if lines else f"see {self._log}"
