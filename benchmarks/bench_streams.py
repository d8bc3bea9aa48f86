"""Streams: publishing beside redis-py's pipeline, end to end beside raw XADD and a bare loop.

Everything runs on a private Valkey with its append-only file (everysec), and once more on the
embedded log. Work is counted in CPU seconds of client and server together, which a busy neighbour
does not change; the other rates are medians over alternating rounds. Latency is open
loop: messages are due every 100 microseconds and it counts from when each was due, not from when
it was sent; ours and the bare loop take turns, and the best round of each counts, because a busy
neighbour owns the tail.
"""

import multiprocessing
import socket
import sqlite3
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import redis

from runtime.streams import Consumer, Message, Stream, open_stream
from tests.servers import ValkeyServer, private_valkey

BATCH, ROUND, ROUNDS = 100, 20_000, 5
RATE, SECONDS, TURNS = 10_000, 3.0, 3  # messages a second, for so long, so often each
PAYLOAD = 66  # bytes, beside the key
WAIT = timedelta(milliseconds=200)
Figure = dict[str, object]
_spawn = multiprocessing.get_context("spawn")


def messages(start: int, count: int, due: Sequence[float] | None = None) -> list[Message]:
    """Return distinct messages; the payload begins with when each is due."""
    times = due if due is not None else [0.0] * count
    return [
        Message(f"us_equities/{start + i}", struct.pack("<d", times[i]) + b"x" * (PAYLOAD - 8))
        for i in range(count)
    ]


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def piped(client: Any, name: str, batches: Sequence[Sequence[Message]]) -> None:
    """Publish as most programs do: a pipeline of XADD per batch."""
    for batch in batches:
        with client.pipeline(transaction=False) as pipeline:
            for message in batch:
                pipeline.xadd(name, {"k": message.key, "p": message.payload})
            pipeline.execute()


def raw(server: ValkeyServer, name: str, batches: Sequence[Sequence[Message]]) -> float:
    """Send the same commands packed beforehand over a bare socket; return the time taken."""

    def packed(*parts: bytes) -> bytes:
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)

    blobs = [
        b"".join(
            packed(b"XADD", name.encode(), b"*", b"k", m.key.encode(), b"p", m.payload)
            for m in batch
        )
        for batch in batches
    ]
    with socket.create_connection(("127.0.0.1", server.port)) as link:
        link.sendall(packed(b"AUTH", server.password.encode()))
        link.recv(1000)
        start = time.perf_counter()
        for blob in blobs:
            link.sendall(blob)
            lines = 0
            while lines < 2 * BATCH:  # a length and an id per message
                lines += link.recv(1 << 16).count(b"\n")
        return time.perf_counter() - start


def published(stream: Stream, batches: Sequence[Sequence[Message]]) -> None:
    """Publish through the port."""
    for batch in batches:
        stream.publish(batch)


def consume(url: str, name: str, total: int, pipe: Connection) -> None:
    """In another process: handle `total` messages, send each one's latency when all are done."""
    stream = open_stream(url, name)
    stream.subscribe("bench")
    late: list[float] = []

    def handler(found: Sequence[Any]) -> None:
        now = time.perf_counter()
        late.extend([now - struct.unpack_from("<d", each.payload)[0] for each in found])

    consumer = Consumer(stream=stream, group="bench", name="a", handler=handler, batch=500)
    pipe.send("ready")
    before = time.process_time()
    while len(late) < total:
        consumer.step(WAIT)
    pipe.send((time.perf_counter(), time.process_time() - before, late))


def consume_bare(url: str, name: str, total: int, pipe: Connection) -> None:
    """The same without a port: XREADGROUP, one XACK per batch."""
    client: Any = redis.Redis.from_url(url, protocol=2)
    client.xgroup_create(name, "bench", id="0", mkstream=True)
    late: list[float] = []
    pipe.send("ready")
    before = time.process_time()
    while len(late) < total:
        answer = client.xreadgroup("bench", "a", {name: ">"}, count=500, block=200)
        for _, entries in answer:
            now = time.perf_counter()
            late.extend([now - struct.unpack_from("<d", fields[b"p"])[0] for _, fields in entries])
            client.xack(name, "bench", *[place for place, _ in entries])
    pipe.send((time.perf_counter(), time.process_time() - before, late))


def consume_log(url: str, name: str, total: int, pipe: Connection) -> None:
    """The same over a bare SQLite table: poll for what is new; nothing is acknowledged."""
    log, last, late = sqlite3.connect(url, isolation_level=None), 0, list[float]()
    pipe.send("ready")
    before = time.process_time()
    while len(late) < total:
        rows = log.execute(f"SELECT seq, payload FROM {name} WHERE seq > ?", (last,)).fetchall()
        now = time.perf_counter()
        late.extend([now - struct.unpack_from("<d", payload)[0] for _, payload in rows])
        last = rows[-1][0] if rows else last
        if not rows:
            time.sleep(0.0005)
    pipe.send((time.perf_counter(), time.process_time() - before, late))


def with_consumer(
    target: Callable[..., None], url: str, name: str, total: int, publish: Callable[[], object]
) -> tuple[float, float, list[float]]:
    """Run `publish` beside a consumer process.

    Returns:
        seconds until all is done, CPU seconds of the consumer, latencies in seconds.
    """
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=target, args=(url, name, total, theirs))
    process.start()
    try:
        ours.recv()
        start = time.perf_counter()
        publish()
        if not ours.poll(60):
            raise TimeoutError(f"{name}: not every message was handled within a minute")
        end, spent, late = ours.recv()
    finally:
        process.terminate()
        process.join()
    return end - start, spent, late


def paced(send: Callable[[list[Message]], object]) -> None:
    """Publish what is due, every message 1 / RATE after the one before, however late we are."""
    total, sent = int(RATE * SECONDS), 0
    start = time.perf_counter() + 0.01
    while sent < total:
        due = min(total, int((time.perf_counter() - start) * RATE) + 1)
        if due <= sent:
            time.sleep(max(0.0, start + sent / RATE - time.perf_counter()))
            continue
        send(messages(sent, due - sent, [start + n / RATE for n in range(sent, due)]))
        sent = due


def figure(name: str, ours: float, peer: float, peer_name: str, unit: str) -> Figure:
    """Return one row; a rate is better when higher, a time when lower."""
    ratio = peer / ours if unit == "ms" else ours / peer
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": ratio,
        "unit": unit,
    }


def open_log(path: Path) -> sqlite3.Connection:
    """Open a bare SQLite table with the embedded log's durability."""
    log = sqlite3.connect(path, isolation_level=None)
    log.execute("PRAGMA journal_mode=WAL")
    log.execute("PRAGMA synchronous=FULL")
    log.execute("CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, key TEXT, payload BLOB)")
    return log


def append(log: sqlite3.Connection, batch: Sequence[Message]) -> None:
    """Append a batch in one commit."""
    log.execute("BEGIN IMMEDIATE")
    rows = [(each.key, each.payload) for each in batch]
    log.executemany("INSERT INTO log (key, payload) VALUES (?, ?)", rows)
    log.execute("COMMIT")


def bare_log(path: Path, batches: Sequence[Sequence[Message]]) -> float:
    """Append to a bare SQLite table; return the time taken."""
    with closing(open_log(path)) as log:
        return seconds(lambda: [append(log, batch) for batch in batches])


def _rates(server: ValkeyServer, folder: Path) -> list[Figure]:
    """Publish, and publish to handled and acknowledged, beside publishing alone without a port."""
    url, log_url, client = server.url, f"sqlite:///{folder / 'streams.db'}", server.client()
    wall: dict[str, list[float]] = {}
    spent: dict[str, list[float]] = {}

    def cpu() -> float:
        """CPU seconds of this process and of the server so far."""
        used: Any = client.info("cpu")
        return time.process_time() + float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    def measured(kind: str, work: Callable[[], object]) -> None:
        before = cpu()
        taken = seconds(work)
        spent.setdefault(kind, []).append(cpu() - before)
        wall.setdefault(kind, []).append(taken)

    for number in range(ROUNDS):
        batches = [messages(start, BATCH) for start in range(0, ROUND, BATCH)]
        client.flushall()
        before = cpu()
        raw(server, "packed", batches)
        spent.setdefault("wire", []).append(cpu() - before)
        measured("pipe", lambda b=batches: piped(client, "raw", b))  # type: ignore[misc]
        for kind, where in (("server", url), ("log", log_url)):
            alone, both = (open_stream(where, f"{name}.{number}") for name in ("alone", "both"))
            measured(kind, lambda s=alone, b=batches: published(s, b))  # type: ignore[misc]
            before = cpu()
            taken, theirs, _ = with_consumer(
                consume,
                where,
                both.name,
                ROUND,
                lambda s=both, b=batches: published(s, b),  # type: ignore[misc]
            )
            wall.setdefault(f"{kind} end", []).append(taken)
            spent.setdefault(f"{kind} end", []).append(cpu() - before + theirs)
            if kind == "server":  # beside the embedded log, whose limit it is
                wall.setdefault("bare log", []).append(bare_log(folder / "bare.db", batches))
            alone.close()
            both.close()
    rate = {kind: ROUND / median(taken) for kind, taken in wall.items()}
    per_cpu = {kind: ROUND / median(taken) for kind, taken in spent.items()}
    publish = f"stream publish, batches of {BATCH}, AOF everysec"
    end = "stream published, handled and acknowledged by another process"
    pipe = f"redis-py pipeline of {BATCH} XADD"
    wire = "the same XADD packed by hand, bare socket"
    log = "publishing only, bare sqlite3, synchronous=FULL"
    each, per = "messages/s", "messages/CPU s"
    return [
        figure(publish, per_cpu["server"], per_cpu["pipe"], pipe, per),
        figure(f"{publish}, against the wire", per_cpu["server"], per_cpu["wire"], wire, per),
        figure(
            f"{end}, all three processes",
            per_cpu["server end"],
            per_cpu["pipe"],
            f"{pipe}, alone",
            per,
        ),
        figure(f"{end}, AOF everysec", rate["server end"], rate["pipe"], f"{pipe}, alone", each),
        figure("embedded stream publish", rate["log"], rate["bare log"], log, each),
        figure(f"embedded {end}", rate["log end"], rate["bare log"], log, each),
    ]


def _tails(url: str, folder: Path) -> list[Figure]:
    """99th percentile from due to handled, open loop."""
    log_url = f"sqlite:///{folder / 'paced.db'}"
    client: Any = redis.Redis.from_url(url, protocol=2)
    total = int(RATE * SECONDS)
    tails: dict[str, list[float]] = {"bare": [], "ours": [], "log": [], "bare log": []}
    for turn in range(TURNS):
        client.flushall()
        bare = with_consumer(
            consume_bare, url, "bare", total, lambda: paced(lambda b: piped(client, "bare", [b]))
        )
        tails["bare"].append(1e3 * float(np.quantile(bare[2], 0.99)))
        for kind, where in (("ours", url), ("log", log_url)):
            stream = open_stream(where, f"paced.{turn}")
            _, _, late = with_consumer(
                consume,
                where,
                stream.name,
                total,
                lambda s=stream: paced(s.publish),  # type: ignore[misc]
            )
            tails[kind].append(1e3 * float(np.quantile(late, 0.99)))
            stream.close()
        path = folder / f"bare.{turn}.db"
        with closing(open_log(path)) as log:
            _, _, late = with_consumer(
                consume_log,
                str(path),
                "log",
                total,
                lambda held=log: paced(lambda b: append(held, b)),  # type: ignore[misc]
            )
        tails["bare log"].append(1e3 * float(np.quantile(late, 0.99)))
    best = {kind: min(each) for kind, each in tails.items()}
    text = f"p99 from due to handled at {RATE:,}/s, open loop, best of {TURNS}"
    peer = "bare loop: pipeline of XADD, XREADGROUP, XACK"
    return [
        figure(f"stream {text}", best["ours"], best["bare"], peer, "ms"),
        figure(f"embedded stream {text}", best["log"], best["bare"], peer, "ms"),
        figure(
            f"embedded stream {text}, same durability",
            best["log"],
            best["bare log"],
            "bare sqlite3, synchronous=FULL, polled, nothing acknowledged",
            "ms",
        ),
    ]


def run() -> list[Figure]:
    """Return the figures of both adapters."""
    with TemporaryDirectory() as folder, private_valkey("everysec") as server:
        return _rates(server, Path(folder)) + _tails(server.url, Path(folder))


if __name__ == "__main__":
    for each in run():
        print(each)
