"""Venues in a process of their own: killed, frozen and restarted, nothing is lost or doubled."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.brokers.paper import PRIMARY
from runtime.chain import HeadAnchor
from runtime.database import open_database
from runtime.domain import OrderState
from runtime.journal.reconcile import reconcile
from runtime.journal.store import Journal
from runtime.kill.sequence import cancel_all
from tests.fakes.fault_world import ACCOUNT, PaperVenue, WatchedRemote, remote_venues
from tests.faults.killer import Zygote, acknowledged, finished, look, until, venue_orders
from tests.faults.test_kill_points import unbroken, url_of

SESSIONS = 4
HURRY = 0.2  # seconds after which a venue that stands still is given up
POINTS = ("after the venue has executed", "after an order is sent")


@pytest.fixture(scope="module")
def expected():
    with tempfile.TemporaryDirectory(prefix="sluice-venue-") as name:
        return unbroken(Path(name) / "whole", SESSIONS)


def serve(killer: Zygote, folder: Path) -> tuple[str, str]:
    """Start a process of venues; return its name and where it listens."""
    url = f"unix://{folder}/venue.sock"
    name = killer.start(folder, url_of(folder), 0, serve=url)
    killer.wait(name, "begun")
    return name, url


def agreed(folder: Path) -> list[OrderState]:
    """Prove that the books agree with the venues' own ledgers; return where orders stand."""
    found = look(folder, url_of(folder))
    assert found.clean, found
    engine = open_database(url_of(folder))
    journal = Journal(engine, ACCOUNT, HeadAnchor(folder / "journal.head"))
    journal.verify()
    at_venues = venue_orders(folder)
    for path in sorted((folder / "venues").glob("*.db")):
        venue = PaperVenue(path, replace(PRIMARY, name=path.stem))
        venue.prove(HeadAnchor(path.with_suffix(".head")).heads())
        for session in journal.sessions():
            ours, theirs = journal.statement(path.stem, session.day), venue.statement(session.day)
            assert reconcile(ours, theirs) == ()
        venue.close()
    records = journal.orders()
    engine.dispose()
    for one in records:
        if one.state in (OrderState.EXPIRED, OrderState.REJECTED) and "never" in one.note:
            assert one.order.order_id not in at_venues, "what is written off is not at the venue"
    return [one.state for one in records]


@pytest.mark.parametrize("point", POINTS)
def test_a_trader_killed_between_ends_as_if_the_venue_were_its_own(killer, folder, expected, point):
    venue, url = serve(killer, folder)
    killed = killer.start(folder, url_of(folder), SESSIONS, point=point, times=2, venue=url)
    assert killer.end(killed) == -signal.SIGKILL
    assert look(folder, url_of(folder)).clean
    assert killer.end(killer.start(folder, url_of(folder), SESSIONS, venue=url)) == 0
    killer.signal(venue, signal.SIGKILL)
    assert killer.end(venue) == -signal.SIGKILL
    assert finished(folder, url_of(folder)) == expected
    agreed(folder)


def test_venue_and_trader_killed_at_random_lose_and_double_nothing(killer, folder):
    random_, sessions = random.Random(5), 900  # more than any process lives to see
    venue, url = serve(killer, folder)
    trader = killer.start(folder, url_of(folder), sessions, venue=url)
    for _ in range(8):
        moved = len(acknowledged(folder)) + random_.choice((0, 0, 1, 2))
        until(lambda moved=moved: len(acknowledged(folder)) >= moved, "a session is closed")
        time.sleep(random_.uniform(0.005, 0.06))
        which = random_.random()
        if which < 0.7:
            killer.signal(venue, signal.SIGKILL)
            assert killer.end(venue) == -signal.SIGKILL
            venue, _ = serve(killer, folder)
        if which > 0.5:
            killer.signal(trader, signal.SIGKILL)
            assert killer.end(trader) == -signal.SIGKILL
            trader = killer.start(folder, url_of(folder), sessions, venue=url)
    moved = len(acknowledged(folder)) + 10
    until(lambda: len(acknowledged(folder)) >= moved, "who was left alone has gone on")
    killer.signal(trader, signal.SIGKILL)
    assert killer.end(trader) == -signal.SIGKILL
    sessions = look(folder, url_of(folder)).closed + 5
    assert killer.end(killer.start(folder, url_of(folder), sessions, venue=url)) == 0
    killer.signal(venue, signal.SIGKILL)
    killer.end(venue)
    states = agreed(folder)
    assert OrderState.UNKNOWN not in states[:-10], "what was in doubt has been asked about"
    assert look(folder, url_of(folder)).closed == sessions


def test_a_frozen_venue_leaves_orders_in_doubt_and_is_asked_when_it_wakes_up(killer, folder):
    venue, url = serve(killer, folder)
    at = "after the decision is committed"
    asked = {"point": at, "times": 2, "act": "stop", "venue": url, "venue_answer": HURRY}
    trader = killer.start(folder, url_of(folder), 6, **asked)
    killer.stopped(trader)
    closed = len(acknowledged(folder))
    killer.freeze(venue)  # before it stands still, it would take orders
    killer.wake(trader)
    until(lambda: len(acknowledged(folder)) > closed, "a session ends with its orders in doubt")
    engine = open_database(url_of(folder))
    doubted = [
        one for one in Journal(engine, ACCOUNT).open_orders() if one.order.tick > "2017-01-03"
    ]
    assert {one.state for one in doubted} == {OrderState.UNKNOWN}
    time.sleep(0.4)  # the next one cannot be run, and is tried again and again
    assert len(acknowledged(folder)) == closed + 1
    engine.dispose()
    killer.wake(venue)
    assert killer.end(trader) == 0
    states = agreed(folder)
    assert look(folder, url_of(folder)).closed == 6
    assert set(states) <= {OrderState.FILLED, OrderState.WORKING, OrderState.EXPIRED}
    assert states.count(OrderState.FILLED) >= 6
    killer.signal(venue, signal.SIGKILL)
    killer.end(venue)


def test_the_kill_switch_empties_a_venue_of_another_process(killer, folder):
    venue, url = serve(killer, folder)
    assert killer.end(killer.start(folder, url_of(folder), 1, venue=url)) == 0
    own = remote_venues(url, ["primary", "alternate"], lambda point: None)
    before = [len(one.working()) for one in own]
    assert sum(before) > 0
    killer.freeze(venue)
    with hurried(own, HURRY):
        report = cancel_all(own)
    assert not report.complete
    assert len(report.unreachable) == 2
    killer.wake(venue)
    report = cancel_all(own)
    assert report.complete
    assert report.found == sum(before)
    assert sum(len(one.working()) for one in own) == 0
    killer.signal(venue, signal.SIGKILL)
    killer.end(venue)


@contextmanager
def hurried(venues: list[WatchedRemote], seconds: float) -> Iterator[None]:
    """Wait for these venues no longer than that inside the block."""
    before = [(one.connect, one.answer) for one in venues]
    for one in venues:
        one.connect = one.answer = seconds
    yield
    for one, (connect, answer) in zip(venues, before, strict=True):
        one.connect, one.answer = connect, answer
