"""A replay in a process of its own, announcing its decisions if streams are named.

python -m tests.fakes.replay_child [--linger] FOLDER DATABASE_URL [STREAMS_URL]

One that lingers does not end by itself: whoever is to kill it may be slow.
"""

from __future__ import annotations

import signal
import sys
from datetime import date
from pathlib import Path

from runtime.journal.queries import JournalQueries
from runtime.replay import ReplayResult, replay
from runtime.streams import open_stream
from runtime.streams.outbox import Outbox
from runtime.streams.places import Places
from runtime.streams.relay import Relay
from tests.fakes.graphs import tilt_manifest
from tests.fakes.market import XNYS, Bench, open_bench

START, END = date(2017, 1, 3), date(2017, 5, 31)


def run(folder: Path, url: str, streams: str | None = None, *, end: date = END) -> ReplayResult:
    bench = open_bench(folder, database_url=url, manifest=tilt_manifest(schedule="daily"))
    relay = None
    if streams is not None:
        relay = Relay(outbox=outbox_of(bench, streams))
        relay.start()
        bench.changed(committed=relay.wake)
    try:
        return replay(bench.engine(), XNYS, START, end)
    finally:
        if relay is not None:
            relay.stop(60)
        bench.close()


def outbox_of(bench: Bench, streams: str) -> Outbox:
    engine = bench.desk.journal.engine
    return Outbox(
        journal=JournalQueries(engine, bench.desk.journal.account),
        places=Places(engine),
        open_stream=lambda name: open_stream(streams, name),
    )


if __name__ == "__main__":
    lingers, *words = sys.argv[1:] if sys.argv[1] == "--linger" else ["", *sys.argv[1:]]
    print(run(Path(words[0]), *words[1:]), flush=True)
    if lingers:
        signal.pause()
