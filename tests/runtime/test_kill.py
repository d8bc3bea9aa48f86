"""The kill switch and its sequence: on at once and for good, off by two, honest about the rest."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import pytest

from runtime.brokers.paper import ALTERNATE, PRIMARY, PaperVenue
from runtime.domain import Bar, Order, OrderState, OrderType, Side, TimeInForce
from runtime.errors import ReleaseRefused, ScopeUnknown, VenueUnknownOutcome
from runtime.kill.sequence import Resting, cancel_all
from runtime.kill.switch import KillSwitch
from tests.fakes.misbehaving import MisbehavingBroker

AT = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)
D = Decimal


@pytest.fixture
def switch(tmp_path):
    return KillSwitch.create(tmp_path / "kill")


def release(switch, scope="all", by="ada", second="ben", reason="looked at"):
    switch.release(scope, by=by, second=second, reason=reason, at=AT)


def test_the_kill_switch_is_a_file_that_anybody_can_touch(switch):
    assert switch.engaged() == {}
    (switch.folder / "all").touch()
    assert switch.engaged() == {"all": "no reason given"}
    assert KillSwitch(switch.folder).engaged() == {"all": "no reason given"}  # a restart
    release(switch)
    switch.engage("study.tilt", "looks wrong", by="ada", at=AT)
    (stop,) = KillSwitch(switch.folder).state()
    assert (stop.scope, stop.reason, stop.by) == ("study.tilt", "looks wrong", "ada")
    assert stop.at == "2026-11-20T21:00:00+00:00"
    assert switch.engaged() == {"study.tilt": "looks wrong"}


def test_a_file_that_is_no_scope_stops_everything(switch):
    (switch.folder / "STOP").write_text("panic")
    assert switch.engaged() == {"all": "file STOP: panic"}
    release(switch, "STOP")
    assert switch.engaged() == {}


def test_a_kill_switch_that_cannot_be_read_or_written_is_on(tmp_path):
    assert "all" in KillSwitch(tmp_path / "missing").engaged()
    switch = KillSwitch.create(tmp_path / "kill")
    switch.folder.rmdir()
    with pytest.raises(OSError, match="kill"):
        switch.engage("symbol.AAA", "disk is gone")
    switch.folder.mkdir()
    assert switch.engaged() == {"symbol.AAA": "disk is gone"}


@pytest.mark.parametrize(
    "scope", ["", "../all", "a/b", ".hidden", "everything", "symbol.", "study.a/b", "ALL", "all\n"]
)
def test_a_scope_that_would_stop_nothing_is_refused(switch, scope):
    with pytest.raises(ScopeUnknown, match="not a scope"):
        switch.engage(scope, "x")
    assert switch.engaged() == {}


@pytest.mark.parametrize(
    ("by", "second", "reason"),
    [("ada", "Ada ", "x"), ("ada", "", "x"), ("", "ben", "x"), ("ada", "ben", " ")],
)
def test_one_person_alone_cannot_release(switch, by, second, reason):
    switch.engage("all", "test")
    with pytest.raises(ReleaseRefused):
        release(switch, by=by, second=second, reason=reason)
    assert switch.engaged() == {"all": "test"}


def test_what_is_not_stopped_is_not_released(switch):
    with pytest.raises(ReleaseRefused, match="not stopped"):
        release(switch)
    with pytest.raises(ReleaseRefused, match="not stopped"):
        release(switch, "../kill.log")


def test_a_release_by_another_process_is_one_for_the_process_that_engaged(switch):
    switch.engage("all", "looks wrong", by="ada", at=AT)
    other = KillSwitch(switch.folder)
    release(other)
    assert (switch.engaged(), other.engaged()) == ({}, {})
    other.engage("all", "again", by="ben", at=AT)
    assert switch.engaged() == {"all": "again"}


def test_who_engaged_and_who_released_is_on_record(switch):
    switch.engage("all", "line one\nby: mallory", by="ada", at=AT)
    release(switch, by="ben", second="cyd")
    lines = [json.loads(line) for line in switch.record.read_text().splitlines()]
    assert [(line["act"], line["by"], line["reason"]) for line in lines] == [
        ("engage", "ada", "line one by: mallory"),
        ("release", "ben and cyd", "looked at"),
    ]


def test_a_release_that_cannot_be_recorded_does_not_happen(switch):
    switch.engage("all", "test")
    switch.record.unlink()
    switch.record.mkdir()  # nothing can be written there
    with pytest.raises(OSError, match="kill"):
        release(switch)
    assert switch.engaged() == {"all": "test"}


def order(number: int, symbol="AAA", venue="primary") -> Order:
    return Order(
        order_id=f"{number:024d}",
        bundle="b" * 64,
        tick="2026-11-20",
        symbol=symbol,
        leg=0,
        venue=venue,
        side=Side.BUY,
        quantity=D(10),
        order_type=OrderType.LIMIT,
        limit_price=D("11"),
        time_in_force=TimeInForce.DAY,
        created_at=AT,
    )


@pytest.fixture
def venues(tmp_path):
    found = [PaperVenue(tmp_path / f"{terms.name}.db", terms) for terms in (PRIMARY, ALTERNATE)]
    for number in range(6):
        found[0].submit(order(number, "AAA" if number % 2 else "BBB"))
    found[1].submit(order(9, venue="alternate"))
    yield found
    for venue in found:
        venue.close()


def test_everything_that_works_is_cancelled_and_confirmed(venues):
    report = cancel_all(venues)
    assert report.complete
    assert (report.found, len(report.cancelled), report.still_open) == (7, 7, ())
    assert [venue.working() for venue in venues] == [(), ()]
    assert cancel_all(venues).found == 0


def test_a_symbol_s_kill_leaves_the_others_working(venues):
    report = cancel_all(venues, symbol="BBB")
    assert (report.found, report.complete) == (3, True)
    assert {one.symbol for venue in venues for one in venue.working()} == {"AAA"}


def test_an_order_that_is_over_is_not_cancelled_again(venues):
    day = AT.replace(day=23)
    venues[0].on_bars([Bar(symbol="AAA", close=D("10"), event_time=day, known_at=day)], at=day)
    report = cancel_all(venues)
    assert report.complete
    assert all(venues[0].find(f"{n:024d}") is not OrderState.WORKING for n in range(6))


class Losing(MisbehavingBroker):
    """Loses replies, and can say what works."""

    def working(self):
        return self._broker.working()


@pytest.mark.parametrize("seed", range(5))
def test_lost_answers_are_asked_about_until_the_venue_confirms(venues, seed):
    report = cancel_all([Losing(venue, Random(seed), loses=0.4) for venue in venues])
    assert report.found == 7
    assert len(report.cancelled) == 7
    assert report.complete


class Deaf:
    """A venue that takes no cancel, and one that says nothing at all."""

    def __init__(self, name: str, *, silent: bool) -> None:
        self.name, self._silent = name, silent

    def working(self):
        if self._silent:
            raise VenueUnknownOutcome("no route to host")
        return (Resting("1", "AAA"),)

    def cancel(self, order_id):
        raise VenueUnknownOutcome("timed out")

    def find(self, order_id):
        return OrderState.WORKING


def test_what_may_still_be_open_is_reported_and_does_not_stop_the_rest(venues):
    report = cancel_all([Deaf("deaf", silent=False), Deaf("gone", silent=True), *venues])
    assert not report.complete
    assert [(one.venue, one.order_id, one.state, one.reason) for one in report.still_open] == [
        ("deaf", "1", "working", "timed out")
    ]
    assert report.unreachable[0] == "gone: no route to host"
    assert len(report.cancelled) == 7


class Filling:
    """A venue to which a new order comes while the old ones are being cancelled."""

    name = "filling"

    def __init__(self) -> None:
        self._listed = [(Resting("1", "AAA"),), (Resting("2", "AAA"), Resting("3", "BBB"))]

    def working(self):
        return self._listed.pop(0)

    def cancel(self, order_id):
        return OrderState.CANCELLED

    def find(self, order_id):
        return OrderState.CANCELLED


def test_an_order_that_arrives_while_others_are_cancelled_is_reported():
    report = cancel_all([Filling()], symbol="AAA")
    assert (report.found, report.cancelled, report.complete) == (1, ("1",), False)
    assert [(one.order_id, one.reason) for one in report.still_open] == [("2", "arrived meanwhile")]


class Forgetful(Deaf):
    """A venue that lists an order as working and then says it never had it."""

    def find(self, order_id):
        return None


class Mute(Deaf):
    """A venue that lists an order and then answers no question about it."""

    def find(self, order_id):
        raise VenueUnknownOutcome("no answer")


@pytest.mark.parametrize("kind", [Forgetful, Mute])
def test_an_order_of_which_nobody_says_that_it_ended_is_not_called_cancelled(kind):
    report = cancel_all([kind("odd", silent=False)])
    assert (report.cancelled, report.ended, report.complete) == ((), (), False)
    assert [(one.order_id, one.state) for one in report.still_open] == [("1", "no answer")]
