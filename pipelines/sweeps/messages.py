"""What a sweep and its workers say to each other: plain data, no pickle."""

from multiprocessing.connection import Connection
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from pipelines.errors import LedgerRefused
from pipelines.ledger.records import TrialClosed, Value
from runtime.decoding import from_msgpack


class Start(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The first message to a worker: what it will evaluate, and on which data."""

    folder: str  # workspace
    lake_url: str
    versions: dict[str, int]  # pinned table versions
    snapshot_hash: str
    notebook: str
    run: str  # the sweep, in whose name data is read


class Task(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One configuration to evaluate; it stands in the ledger already."""

    number: int
    parameters: dict[str, Value]


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A worker has loaded code and market data; what the notebook declares."""

    declaration: dict[str, object]
    search_space: dict[str, list[Value]]
    code_hash: str
    shape_hash: str


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The notebook's definition cannot be used at all."""

    error: str  # class name
    text: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What became of one configuration; series are little-endian bytes."""

    number: int
    status: Literal["complete", "failed", "pruned"]
    reason: str = ""
    dates: bytes = b""  # int64 days since 1970
    net: bytes = b""  # float64
    benchmark: bytes = b""  # float64
    figures: dict[str, float] = {}

    def closed(self) -> TrialClosed:
        """Return the ledger's entry; returns that cannot be judged make it a failed one."""
        if self.status != "complete":
            return TrialClosed(status=self.status, reason=self.reason or "no reason was given")
        try:
            return TrialClosed(
                status="complete",
                dates=np.frombuffer(self.dates, dtype="<i8").astype("datetime64[D]"),
                net=np.frombuffer(self.net, dtype="<f8"),
                benchmark=np.frombuffer(self.benchmark, dtype="<f8"),
                figures=self.figures,
            )
        except LedgerRefused as refused:
            return TrialClosed(status="failed", reason=str(refused))

    @classmethod
    def of(cls, number: int, closed: TrialClosed) -> "Outcome":
        """Return the message for a complete trial."""
        return cls(
            number=number,
            status=closed.status,
            reason=closed.reason,
            dates=np.asarray(closed.dates, dtype="datetime64[D]").astype("<i8").tobytes(),
            net=np.ascontiguousarray(closed.net, dtype="<f8").tobytes(),
            benchmark=np.ascontiguousarray(closed.benchmark, dtype="<f8").tobytes(),
            figures=dict(closed.figures),
        )


ToWorker: TypeAlias = Start | Task
FromWorker: TypeAlias = Ready | Refused | Outcome
_TO_WORKER: Any = ToWorker
_FROM_WORKER: Any = FromWorker


def send(connection: Connection, message: ToWorker | FromWorker) -> None:
    """Send one message."""
    connection.send_bytes(msgspec.msgpack.encode(message))


def receive_task(connection: Connection) -> ToWorker:
    """Return the next message to a worker; EOFError when the sweep has ended."""
    message: ToWorker = from_msgpack(connection.recv_bytes(), _TO_WORKER)
    return message


def receive_outcome(connection: Connection) -> FromWorker:
    """Return the next message of a worker; EOFError or OSError when it is gone."""
    message: FromWorker = from_msgpack(connection.recv_bytes(), _FROM_WORKER)
    return message
