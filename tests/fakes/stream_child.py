"""A process that publishes to, or consumes from, a stream until it is killed.

    python -m tests.fakes.stream_child publish URL STREAM BATCH FIRST
    python -m tests.fakes.stream_child consume URL STREAM DATABASE NAME MOST

The publisher prints the last number of each batch once `publish` returned. The consumer books each
key in DATABASE through an inbox and prints how many it has handled; past MOST it stands by with
what it has read, for whoever is to kill it in the middle may be slow.
"""

import signal
import sys
from datetime import timedelta
from itertools import count

from sqlalchemy import text

from runtime.database import open_database
from runtime.streams import Consumer, Inbox, Message, Publisher, open_stream

GROUP = "desk"


def publish(url: str, name: str, batch: str, first: str) -> None:
    publisher, size = Publisher(stream=open_stream(url, name)), int(batch)
    for start in count(int(first), size):
        publisher.publish([Message(f"key {n}", b"x" * 66) for n in range(start, start + size)])
        print(start + size - 1, flush=True)


def consume(url: str, name: str, database: str, member: str, most: str) -> None:
    engine, total = open_database(database), 0

    def effect(connection, found):
        if total > int(most):
            signal.pause()
        rows = [{"name": each.key} for each in found]
        connection.execute(text("INSERT INTO booked VALUES (:name)"), rows)

    consumer = Consumer(
        stream=open_stream(url, name),
        group=GROUP,
        name=member,
        handler=Inbox(engine).handler(f"{name}/{GROUP}", effect),
        batch=50,
        idle=timedelta(milliseconds=200),
    )
    while True:
        total += consumer.step(timedelta(milliseconds=20)).handled
        print(total, flush=True)


if __name__ == "__main__":
    {"publish": publish, "consume": consume}[sys.argv[1]](*sys.argv[2:])
