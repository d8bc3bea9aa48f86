"""The streams from the command line: lag, what is unannounced, poison messages, trimming."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from runtime.clock import WallClock
from runtime.streams import Stream, open_stream, stream_names
from service.console import OK, REFUSED, Output
from service.databases import open_runtime
from service.faults import NotFound
from service.flows.online import open_outbox
from service.records import open_journal
from service.settings import Settings, require_records

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def _opened(settings: Settings, name: str) -> Iterator[Stream]:
    """Yield a stream that exists; NotFound lists those that do."""
    names = stream_names(settings.streams_url)
    if name not in names:
        raise NotFound(f"there is no stream {name}", f"there are: {', '.join(names) or 'none yet'}")
    with closing(open_stream(settings.streams_url, name)) as stream:
        yield stream


def list_streams(settings: Settings, output: Output) -> None:
    """Print every stream with its groups and their lag."""
    now, rows = WallClock().now(), []
    for name in stream_names(settings.streams_url):
        with _opened(settings, name) as stream:
            groups = []
            for group in stream.groups():
                lag = stream.lag(group, now=now)
                groups.append(
                    {
                        "group": group,
                        "waiting": lag.waiting,
                        "pending": lag.pending,
                        "age_seconds": lag.age.total_seconds(),
                        "buried": len(stream.buried(group)),
                    }
                )
            rows.append({"stream": name, "groups": groups})
    output.answer({"streams": rows}, lambda console: _show_streams(console, rows))


def _show_streams(console: "Console", rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    if not rows:
        console.print("No stream yet. The first decision or materialization makes one.")
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("stream", "group"):
        table.add_column(name)
    for name in ("waiting", "pending", "oldest", "set aside"):
        table.add_column(name, justify="right")
    for row in rows:
        if not row["groups"]:
            table.add_row(row["stream"], "[dim]nobody reads it[/dim]", "", "", "", "")
        for one in row["groups"]:
            figures = (f"{one[key]:,}" for key in ("waiting", "pending"))
            oldest = f"{one['age_seconds']:,.0f} s" if one["age_seconds"] else ""
            table.add_row(row["stream"], one["group"], *figures, oldest, str(one["buried"] or ""))
    console.print(table)


def publish(settings: Settings, output: Output, account: str) -> None:
    """Announce what an account's journal holds and no stream carries."""
    require_records(settings)
    engine = open_runtime(settings)
    accounts = open_journal(settings, engine, account).accounts()
    if account not in accounts:
        raise NotFound(
            f"no decision of account {account!r} is in the journal",
            f"there are: {', '.join(accounts) or 'none'}",
        )
    outbox = open_outbox(settings, engine, account)
    try:
        published = outbox.publish()
        if outbox.unsettled:  # a server: only after a while is it certain that it will remember
            time.sleep(outbox.keep.total_seconds())
            outbox.publish()
    finally:
        outbox.close()
    output.answer(
        {"account": account, "published": published},
        lambda console: console.print(f"{published:,} decisions of {account} announced"),
    )


def buried(settings: Settings, output: Output, name: str, group: str) -> int:
    """Print the poison messages of a group; returns the exit status."""
    with _opened(settings, name) as stream:
        stream.lag(group, now=WallClock().now())  # a group that does not exist is named
        found = stream.buried(group)
    rows = [
        {"id": one.id, "key": one.key, "deliveries": one.deliveries, "reason": one.reason}
        for one in found
    ]

    def show(console: "Console") -> None:
        for row in rows:
            said = f"{row['id']}  {row['key']}: {row['reason']} (delivery {row['deliveries']})"
            console.print(said, markup=False)
        if not rows:
            console.print(f"nothing of {group} is set aside", markup=False)

    output.answer({"stream": name, "group": group, "buried": rows}, show)
    return REFUSED if rows else OK


def revive(settings: Settings, output: Output, name: str, group: str, ids: Sequence[str]) -> None:
    """Hand poison messages to their group again."""
    with _opened(settings, name) as stream:
        revived = stream.revive(group, ids)
    if not revived:
        raise NotFound(
            f"none of these messages of {group} is set aside", "see sluice streams buried"
        )
    output.answer(
        {"stream": name, "group": group, "revived": revived},
        lambda console: console.print(f"{revived} messages are handed out again"),
    )


def trim(settings: Settings, output: Output, names: Sequence[str]) -> None:
    """Remove what every group has acknowledged."""
    removed = {}
    for name in names or stream_names(settings.streams_url):
        with _opened(settings, name) as stream:
            removed[name] = stream.trim()

    def show(console: "Console") -> None:
        for name, count in removed.items():
            console.print(f"{name}: {count:,} messages removed", markup=False)

    output.answer({"removed": removed}, show)
