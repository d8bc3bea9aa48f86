"""Killer and verifier: starts, stops and kills trading processes, and proves what they left."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

from sqlalchemy import Connection

from runtime.chain import ChainedLog, HeadAnchor
from runtime.database import open_database, reading
from runtime.domain import OrderState
from runtime.journal.store import Journal
from runtime.scheduling.slots import TABLE
from tests.fakes.fault_world import ACCOUNT
from tests.runtime.journal.trading import trial_balance

ROOT = Path(__file__).parents[2]
TAKEN_BEFORE = "-"  # the session was finished by a process that did not take its decision
PATIENCE = 120.0  # seconds; generous, a machine may be busy
_STILL = {"T", "t", "Z", "X"}  # stopped, traced, ended: proc_pid_stat(5)


def until(true: Callable[[], object], what: str, pause: float = 0.002) -> None:
    """Wait until something is true; `what` says what it is."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"in vain: until {what}"
        time.sleep(pause)


def stands_still(pid: int) -> bool:
    """Say whether no thread of a process goes on. A signal to stop takes effect a moment later."""
    states = set()
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):  # a thread that has just ended
            states.add((task / "stat").read_text().rpartition(")")[2].split()[0])
    return states <= _STILL


@dataclass
class Zygote:
    """Forks trading processes on command and hears what becomes of them."""

    process: subprocess.Popen[bytes]
    heard: list[tuple[str, str, str]] = field(default_factory=list)  # (what, id, rest)
    pids: dict[str, int] = field(default_factory=dict)
    made: int = 0
    _pending: bytes = b""

    def start(self, folder: Path, url: str, sessions: int, **asked: object) -> str:
        """Start a process and return its name; see `tests.fakes.fault_zygote` for `asked`."""
        self.made += 1
        name = f"p{self.made}"
        line = {"id": name, "folder": str(folder), "url": url, "sessions": sessions, **asked}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()
        self.pids[name] = int(self.wait(name, "started"))
        return name

    def wait(self, name: str, what: str) -> str:
        """Wait until something is heard of a process; return the rest of what was said."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for event, of, rest in self.heard:
                if (event, of) == (what, name):
                    return rest
            assert time.monotonic() < deadline, f"{name} was never heard to have {what}"
            self._listen(deadline)

    def first(self, name: str, *whats: str) -> str:
        """Wait for whichever comes first and return it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for event, of, _ in self.heard:
                if of == name and event in whats:
                    return event
            assert time.monotonic() < deadline, f"{name}: none of {whats}"
            self._listen(deadline)

    def _listen(self, deadline: float) -> None:
        assert self.process.stdout is not None
        left = max(0.0, deadline - time.monotonic())
        waiting = select.poll()  # unlike select, for any number of open files
        waiting.register(self.process.stdout, select.POLLIN)
        if not waiting.poll(left * 1000):
            return
        read = os.read(self.process.stdout.fileno(), 65536)
        assert read, "the zygote ended"
        *lines, self._pending = (self._pending + read).split(b"\n")
        for line in lines:
            what, name, *rest = line.decode().split(" ", 2)
            self.heard.append((what, name, rest[0] if rest else ""))

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one process, which is ours and not reaped before it was heard to end."""
        os.kill(self.pids[name], number)

    def stopped(self, name: str) -> None:
        """Wait until a process has come to the point where it stops itself, and stands still."""
        self.wait(name, "reached")  # said a moment before
        until(lambda: stands_still(self.pids[name]), f"{name} stands still")

    def freeze(self, name: str) -> None:
        """Stop a process, and wait until it stands still."""
        self.signal(name, signal.SIGSTOP)
        until(lambda: stands_still(self.pids[name]), f"{name} stands still")

    def wake(self, name: str) -> None:
        """Let a process that stands still go on; nobody has to wait for this signal."""
        self.signal(name, signal.SIGCONT)

    def end(self, name: str) -> int:
        """Wait until a process has ended and return its status."""
        return int(self.wait(name, "ended"))


@contextmanager
def zygote() -> Iterator[Zygote]:
    """A zygote that ends with the block, its processes too."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.fault_zygote"],
        cwd=ROOT,
        env={**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        made = Zygote(process)
        made.wait("zygote", "ready")
        yield made
    finally:
        process.stdin.close()  # type: ignore[union-attr]
        process.wait(PATIENCE)
        process.stdout.close()  # type: ignore[union-attr]


@dataclass(frozen=True)
class Found:
    """What the verifier saw; every list is empty if nothing is wrong."""

    acknowledged: int  # sessions
    closed: int  # sessions
    lost: list[str]  # acknowledged, and not in the journal
    doubled: list[str]  # decided, ordered, booked or executed twice
    unexplained: list[str]  # at a venue, and of no journalled decision

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.unexplained)


def acknowledged(folder: Path) -> dict[str, str]:
    """Day -> decision id, of every session that was acknowledged to the outside."""
    path = folder / "acknowledged"
    text = path.read_text() if path.exists() else ""
    return dict(line.split() for line in text.splitlines())


def venue_orders(folder: Path) -> Counter[str]:
    """Order ids at all venues."""
    found: Counter[str] = Counter()
    for venue in sorted((folder / "venues").glob("*.db")):
        with sqlite3.connect(venue) as connection:
            found.update(row[0] for row in connection.execute("SELECT order_id FROM orders"))
    return found


def venue_executions(folder: Path) -> Counter[tuple[str, str]]:
    """(venue, execution id) at all venues."""
    found: Counter[tuple[str, str]] = Counter()
    for venue in sorted((folder / "venues").glob("*.db")):
        with sqlite3.connect(venue) as connection:
            rows = connection.execute("SELECT execution_id FROM executions")
            found.update((venue.stem, row[0]) for row in rows)
    return found


def look(folder: Path, url: str) -> Found:
    """Verify the chains and compare acknowledgements, journal and venues; cheap, for any moment."""
    engine = open_database(url)
    Journal(engine, ACCOUNT)  # makes its tables if it was killed before it could
    ChainedLog(engine, "journal").verify(HeadAnchor(folder / "journal.head").heads())
    ChainedLog(engine, TABLE).verify(HeadAnchor(folder / "schedule.head").heads())
    with reading(engine) as connection:
        decided = _rows(connection, "SELECT tick, decision_id FROM journal_decisions")
        orders = _rows(connection, "SELECT order_id, decision_id FROM journal_orders")
        closed = _rows(connection, "SELECT account, day FROM journal_sessions")
        fills = _rows(connection, "SELECT venue, execution_id FROM journal_fills")
    engine.dispose()
    ids = dict(decided)
    told, at_venues, executed = acknowledged(folder), venue_orders(folder), venue_executions(folder)
    explained = {name for name, decision in orders if decision in ids.values()}
    counters = (
        Counter(tick for tick, _ in decided),
        Counter(name for name, _ in orders),
        Counter(fills),
        at_venues,
        executed,
    )
    return Found(
        acknowledged=len(told),
        closed=len(closed),
        lost=[day for day, name in told.items() if name not in (ids.get(day), TAKEN_BEFORE)]
        + [day for day in told if day not in ids],
        doubled=[str(name) for one in counters for name, times in one.items() if times > 1],
        unexplained=[name for name in at_venues if name not in explained],
    )


def _rows(connection: Connection, query: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in connection.exec_driver_sql(query)]


def finished(folder: Path, url: str) -> Mapping[str, object]:
    """Verify a world that has run to its end and return what must equal an unbroken run's."""
    found = look(folder, url)
    assert found.clean, found
    engine = open_database(url)
    journal = Journal(engine, ACCOUNT, HeadAnchor(folder / "journal.head"))
    journal.verify()  # every row derived anew from its entry
    sessions = journal.sessions()
    assert all(one.breaks == () for one in sessions)
    assert set(acknowledged(folder)) <= {one.day.isoformat() for one in sessions}
    orders = {one.order.order_id: one for one in journal.orders()}
    assert Counter(orders.keys()) == venue_orders(folder)
    last = sessions[-1].day.isoformat()
    for one in orders.values():
        working = one.order.tick == last and one.state is OrderState.WORKING
        assert working or one.state is OrderState.FILLED, one
    booked = Counter((one.fill.venue, one.fill.execution_id) for one in journal.fills())
    assert booked == venue_executions(folder)
    assert sum(trial_balance(journal).values()) == Decimal(0)
    head, counts = journal.head(), journal.counts()
    slots = [
        (entry.kind, entry.key)
        for entry in ChainedLog(engine, TABLE).entries()
        if entry.kind == "end"
    ]
    engine.dispose()
    assert len(slots) == len(set(slots))
    return {"head": head, "counts": counts, "slots": slots, "last": _day(last)}


def _day(text: str) -> date:
    return date.fromisoformat(text)
