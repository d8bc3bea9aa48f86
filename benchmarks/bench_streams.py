"""Streams: publishing beside redis-py's pipeline, end to end beside raw XADD and a bare loop.

Everything runs on a private Valkey with its append-only file (everysec), and once more on the
embedded log. Rates are medians over alternating rounds. Latency is open loop: messages are due
every 100 microseconds and it counts from when each was due, not from when it was sent; ours and the
bare loop take turns, and the best round of each counts, because a busy neighbour owns the tail.
"""

import multiprocessing
import struct
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import redis

from runtime.streams import Consumer, Message, Stream, open_stream
from tests.servers import private_valkey

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
    while len(late) < total:
        consumer.step(WAIT)
    pipe.send((time.perf_counter(), late))


def consume_bare(url: str, name: str, total: int, pipe: Connection) -> None:
    """The same without a port: XREADGROUP, one XACK per batch."""
    client: Any = redis.Redis.from_url(url, protocol=2)
    client.xgroup_create(name, "bench", id="0", mkstream=True)
    late: list[float] = []
    pipe.send("ready")
    while len(late) < total:
        answer = client.xreadgroup("bench", "a", {name: ">"}, count=500, block=200)
        for _, entries in answer:
            now = time.perf_counter()
            late.extend([now - struct.unpack_from("<d", fields[b"p"])[0] for _, fields in entries])
            client.xack(name, "bench", *[place for place, _ in entries])
    pipe.send((time.perf_counter(), late))


def with_consumer(
    target: Callable[..., None], url: str, name: str, total: int, publish: Callable[[], object]
) -> tuple[float, list[float]]:
    """Run `publish` beside a consumer process; return the time until all is done, and latencies."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=target, args=(url, name, total, theirs))
    process.start()
    try:
        ours.recv()
        start = time.perf_counter()
        publish()
        if not ours.poll(60):
            raise TimeoutError(f"{name}: not every message was handled within a minute")
        end, late = ours.recv()
    finally:
        process.terminate()
        process.join()
    return end - start, late


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


def _rates(url: str, log_url: str) -> list[Figure]:
    """Publish, and publish to handled and acknowledged, beside a pipeline of XADD alone."""
    client: Any = redis.Redis.from_url(url, protocol=2)
    kinds: dict[str, list[float]] = {"pipe": [], "publish": [], "end": [], "log": [], "log end": []}
    for number in range(ROUNDS):
        batches = [messages(start, BATCH) for start in range(0, ROUND, BATCH)]
        client.flushall()
        kinds["pipe"].append(seconds(lambda b=batches: piped(client, "raw", b)))  # type: ignore[misc]
        for key, where in (("", url), ("log", log_url)):
            alone = open_stream(where, f"alone.{number}")
            taken = seconds(lambda s=alone, b=batches: published(s, b))  # type: ignore[misc]
            kinds[key or "publish"].append(taken)
            both = open_stream(where, f"both.{number}")
            taken, _ = with_consumer(
                consume,
                where,
                f"both.{number}",
                ROUND,
                lambda s=both, b=batches: published(s, b),  # type: ignore[misc]
            )
            kinds[f"{key} end".strip()].append(taken)
            alone.close()
            both.close()
    rate = {kind: ROUND / median(taken) for kind, taken in kinds.items()}
    peer = f"redis-py pipeline of {BATCH} XADD, publishing only"
    names = {
        "publish": f"stream publish, batches of {BATCH}, AOF everysec",
        "end": "stream published, handled and acknowledged by another process, AOF everysec",
        "log": f"embedded stream publish, batches of {BATCH}, synchronous=FULL",
        "log end": "embedded stream published, handled and acknowledged by another process",
    }
    return [
        figure(text, rate[kind], rate["pipe"], peer, "messages/s") for kind, text in names.items()
    ]


def _tails(url: str, log_url: str) -> list[Figure]:
    """99th percentile from due to handled, open loop."""
    client: Any = redis.Redis.from_url(url, protocol=2)
    total = int(RATE * SECONDS)
    tails: dict[str, list[float]] = {"bare": [], "ours": [], "log": []}
    for turn in range(TURNS):
        client.flushall()
        bare = with_consumer(
            consume_bare, url, "bare", total, lambda: paced(lambda b: piped(client, "bare", [b]))
        )
        tails["bare"].append(1e3 * float(np.quantile(bare[1], 0.99)))
        for kind, where in (("ours", url), ("log", log_url)):
            stream = open_stream(where, f"paced.{turn}")
            _, late = with_consumer(
                consume,
                where,
                stream.name,
                total,
                lambda s=stream: paced(s.publish),  # type: ignore[misc]
            )
            tails[kind].append(1e3 * float(np.quantile(late, 0.99)))
            stream.close()
    best = {kind: min(each) for kind, each in tails.items()}
    text = f"p99 from due to handled at {RATE:,}/s, open loop, best of {TURNS}"
    peer = "bare loop: pipeline of XADD, XREADGROUP, XACK"
    return [
        figure(f"stream {text}", best["ours"], best["bare"], peer, "ms"),
        figure(f"embedded stream {text}", best["log"], best["bare"], peer, "ms"),
    ]


def run() -> list[Figure]:
    """Return the figures of both adapters."""
    with TemporaryDirectory() as folder, private_valkey("everysec") as server:
        log_url = f"sqlite:///{Path(folder) / 'streams.db'}"
        return _rates(server.url, log_url) + _tails(server.url, log_url)


if __name__ == "__main__":
    for each in run():
        print(each)
