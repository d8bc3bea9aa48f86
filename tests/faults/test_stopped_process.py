"""A process that is stopped, superseded and woken: it can neither record nor send any more."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.database import open_database
from runtime.domain import OrderState
from runtime.journal.store import Journal
from tests.fakes.fault_world import ACCOUNT
from tests.faults.killer import finished, look, venue_orders
from tests.faults.test_kill_points import unbroken, url_of

SESSIONS = 4
# Where a stopped process holds no lock of SQLite's; at the other points it keeps everybody out.
FREE = (
    "after the claim is committed",
    "before the venue sees the bars",
    "after the venue has executed",
    "after the decision is committed",
    "after the acknowledgements are committed",
    "before the head is anchored",
    "after the slot's end is committed",
)
# Over PostgreSQL whoever takes over ends what the stopped process holds.
HELD = (
    "before the claim is committed",
    "before the decision is committed",
    "before an order is sent",
)


@pytest.fixture(scope="module")
def expected():
    with tempfile.TemporaryDirectory(prefix="sluice-stopped-") as name:
        return unbroken(Path(name) / "whole", SESSIONS)


def wake_after_another_took_over(killer, folder, url, point) -> str:
    """Stop a process at a point, let another trade to the end, wake the first; return its name."""
    old = killer.start(folder, url, SESSIONS, point=point, act="stop")
    killer.stopped(old)
    new = killer.start(folder, url, SESSIONS)
    assert killer.end(new) == 0
    killer.wake(old)
    return old


@pytest.mark.parametrize("point", FREE)
def test_a_stopped_process_that_wakes_up_changes_nothing(killer, folder, expected, point):
    url = url_of(folder)
    old = wake_after_another_took_over(killer, folder, url, point)
    killer.end(old)
    assert finished(folder, url) == expected


@pytest.fixture
def postgres_url(postgres_server) -> Iterator[str]:
    """URL of a fresh database on a PostgreSQL."""
    with postgres_server.database() as url:
        yield url


@pytest.mark.parametrize("point", HELD)
def test_over_postgresql_a_process_stopped_inside_a_transaction_is_followed_too(
    killer, folder, expected, postgres_url, point
):
    """The order it was about to send is sent by the next one, under the same id, once."""
    old = wake_after_another_took_over(killer, folder, postgres_url, point)
    killer.end(old)
    assert finished(folder, postgres_url) == expected


DENIED = {OrderState.DENIED}


@pytest.mark.parametrize(
    ("without", "harm"),
    [(("standing",), False), (("standing", "logon"), True)],
)
def test_an_order_that_was_refused_meanwhile_is_not_sent_by_who_wakes_up(
    killer, folder, without, harm
):
    """Stopped on its way to the venue; the kill switch is engaged, and released, meanwhile.

    Holding the epoch while sending would keep the other one waiting; without that, the venue
    refuses; without both, the order goes out that the journal denies.
    """
    url, point = url_of(folder), "before an order is sent"
    old = killer.start(folder, url, 1, point=point, act="stop", without=list(without))
    killer.stopped(old)
    (folder / "kill" / "all").write_text("stop")
    assert killer.end(killer.start(folder, url, 1, without=list(without))) == 0
    (folder / "kill" / "all").unlink()
    killer.wake(old)
    killer.end(old)
    assert look(folder, url).clean
    assert states(folder, url) == DENIED
    assert bool(venue_orders(folder)) is harm


@pytest.mark.parametrize(("without", "harm"), [((), False), (("logon",), True)])
def test_over_postgresql_not_even_the_order_it_was_sending_leaves_a_woken_process(
    killer, folder, postgres_url, without, harm
):
    """Stopped past its last look at the fence: only the venue itself can refuse it."""
    point = "before an order is sent"
    old = killer.start(folder, postgres_url, 1, point=point, act="stop", without=list(without))
    killer.stopped(old)
    (folder / "kill" / "all").write_text("stop")
    assert killer.end(killer.start(folder, postgres_url, 1, without=list(without))) == 0
    (folder / "kill" / "all").unlink()
    killer.wake(old)
    killer.end(old)
    assert states(folder, postgres_url) == DENIED
    assert bool(venue_orders(folder)) is harm


@pytest.mark.parametrize(
    ("without", "harm"), [((), False), (("logon",), False), (("fence", "logon"), True)]
)
def test_a_tick_that_the_others_passed_over_is_not_decided_late_by_who_wakes_up(
    killer, folder, without, harm
):
    """Its own idea of the time is from before it was stopped, so no clock would refuse it."""
    url = url_of(folder)
    point = "before the venue sees the bars"
    old = killer.start(folder, url, 1, point=point, act="stop", without=list(without))
    killer.stopped(old)
    assert killer.end(killer.start(folder, url, 3, skip=1, without=list(without))) == 0
    killer.wake(old)
    killer.end(old)
    engine = open_database(url)
    ticks = [one.record.tick for one in Journal(engine, ACCOUNT).decisions(limit=100)]
    engine.dispose()
    assert ("2017-01-03" in ticks) is harm
    assert {"2017-01-04", "2017-01-05"} <= set(ticks)


def test_an_order_that_was_sent_before_it_was_written_is_found_by_the_verifier(killer, folder):
    """The mistake that the order of steps avoids: a venue has what no journal explains."""
    url, point = url_of(folder), "before the decision is committed"
    killed = killer.start(folder, url, 1, point=point, act="kill", without=["intent"])
    assert killer.end(killed) == -signal.SIGKILL
    found = look(folder, url)
    assert not found.clean
    assert set(found.unexplained) == set(venue_orders(folder)) != set()


def states(folder: Path, url: str) -> set[OrderState]:
    engine = open_database(url)
    found = {one.state for one in Journal(engine, ACCOUNT).orders()}
    engine.dispose()
    return found
