"""What is said to a venue of which nobody knows what it did: asked by id, never told twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from runtime.brokers.paper import ALTERNATE, PRIMARY, PaperVenue
from runtime.domain import OrderState
from runtime.engine import fund
from runtime.errors import VenueUnknownOutcome
from runtime.execution.venues import ATTEMPTS, Venues
from tests.fakes.market import CAPITAL, XNYS, open_bench

FRIDAY, MONDAY = date(2017, 1, 6), date(2017, 1, 9)


@pytest.fixture
def bench(tmp_path):
    opened = open_bench(tmp_path)
    fund(opened.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield opened
    opened.close()


class Doubtful(PaperVenue):
    """Writes down what it is asked; loses what it is told to lose."""

    def __init__(self, path) -> None:
        super().__init__(path, PRIMARY)
        self.calls: list[tuple[str, str]] = []
        self.lost_before: dict[str, int] = {}  # call -> how often in a row it does not arrive
        self.lost_after = 0  # submits that arrive and are not answered
        self.deaf_for: set[str] = set()  # symbols whose cancel is not answered

    def _called(self, what: str, order_id: str) -> None:
        self.calls.append((what, order_id))
        again = [one for one in self.calls if one == (what, order_id)]
        if len(again) <= self.lost_before.get(what, 0):
            raise VenueUnknownOutcome(f"{self.name}: no answer")

    def submit(self, order):
        self._called("submit", order.order_id)
        state = super().submit(order)
        if self.lost_after:
            raise VenueUnknownOutcome(f"{self.name}: no answer")
        return state

    def find(self, order_id):
        self._called("find", order_id)
        return super().find(order_id)

    def cancel(self, order_id):
        symbols = {one.order_id: one.symbol for one in self.working()}
        if symbols.get(order_id) in self.deaf_for:
            raise VenueUnknownOutcome(f"{self.name}: no answer")
        return super().cancel(order_id)


@pytest.fixture
def venue(bench):
    opened = Doubtful(bench.folder / "venues" / "doubtful.db")
    bench.changed(brokers=(opened,))
    yield opened
    opened.close()


def decide(bench) -> dict[str, OrderState]:
    """Run Friday's session, which decides; return where each symbol's order stands."""
    bench.desk.clock.advance(XNYS.session(FRIDAY).close)
    bench.engine().run_session(XNYS.session(FRIDAY))
    return {one.order.symbol: one.state for one in bench.desk.journal.orders()}


def said(venue) -> set[tuple[str, ...]]:
    """What the venue was asked about each order, in order."""
    names = {name for _, name in venue.calls}
    return {tuple(what for what, name in venue.calls if name == one) for one in names}


def test_an_order_whose_answer_is_lost_is_asked_about_before_it_goes_out_again(bench, venue):
    venue.lost_before = {"submit": 2}
    assert set(decide(bench).values()) == {OrderState.WORKING}
    assert said(venue) == {("submit", "find", "submit", "find", "submit")}


def test_an_order_that_arrived_without_an_answer_is_never_sent_again(bench, venue):
    venue.lost_after = True
    assert set(decide(bench).values()) == {OrderState.WORKING}
    assert said(venue) == {("submit", "find")}


def test_an_order_that_no_call_could_place_is_in_doubt_and_not_rejected(bench, venue):
    venue.lost_before = {"submit": 99}
    assert set(decide(bench).values()) == {OrderState.UNKNOWN}
    assert said(venue) == {("submit", "find") * ATTEMPTS}
    assert len(bench.desk.journal.open_orders()) == 4  # still counted as if they could fill


def test_a_cancel_without_an_answer_leaves_that_order_in_doubt_and_reaches_the_others(bench, venue):
    assert set(decide(bench).values()) == {OrderState.WORKING}
    venue.deaf_for = {"BBB"}
    bench.desk.kill.engage("all", "test")
    Venues(bench.desk).cancel_stopped(bench.desk.clock.now(), MONDAY)
    records = {one.order.symbol: one for one in bench.desk.journal.orders()}
    assert {name: one.state for name, one in records.items()} == {
        "AAA": OrderState.CANCELLED,
        "BBB": OrderState.UNKNOWN,
        "CCC": OrderState.CANCELLED,
        "DDD": OrderState.CANCELLED,
    }
    assert "cancel without an answer" in records["BBB"].note


def test_an_order_at_a_venue_that_the_desk_has_no_more_is_in_doubt_and_not_over(bench, venue):
    assert set(decide(bench).values()) == {OrderState.WORKING}
    elsewhere = PaperVenue(bench.folder / "venues" / "new.db", replace(PRIMARY, name="new"))
    engine = bench.changed(brokers=(elsewhere,))
    bench.desk.clock.advance(XNYS.session(MONDAY).close)
    engine.run_session(XNYS.session(MONDAY))
    elsewhere.close()
    assert {one.state for one in bench.desk.journal.orders()} == {OrderState.UNKNOWN}
    assert len(bench.desk.journal.open_orders()) == 4


class Miscounting(PaperVenue):
    """A venue whose statement has a dollar more than it paid."""

    def statement(self, day):
        told = super().statement(day)
        return replace(told, cash_flow=told.cash_flow + 1)


def test_every_venues_statement_is_compared_and_not_the_first_alone(bench):
    first, *_ = bench.desk.brokers
    odd = Miscounting(bench.folder / "venues" / "odd.db", ALTERNATE)
    bench.changed(brokers=(first, odd))
    bench.desk.clock.advance(XNYS.session(FRIDAY).close)
    (found,) = bench.engine().run_session(XNYS.session(FRIDAY)).breaks
    odd.close()
    assert (found.kind.value, found.venue, found.amount) == ("cash", "alternate", 1)


class Boastful(PaperVenue):
    """Answers every order as filled, whatever became of it."""

    def submit(self, order):
        super().submit(order)
        return OrderState.FILLED


def test_an_order_is_filled_by_its_executions_and_not_by_a_word(bench):
    venue = Boastful(bench.folder / "venues" / "boastful.db", PRIMARY)
    engine = bench.changed(brokers=(venue,))
    assert set(decide(bench).values()) == {OrderState.PENDING}
    bench.desk.clock.advance(XNYS.session(MONDAY).close)
    assert engine.run_session(XNYS.session(MONDAY)).fills == 4
    venue.close()
    assert {one.state for one in bench.desk.journal.orders()} == {OrderState.FILLED}


class Withholding(PaperVenue):
    """Tells its second execution at once, and its first only to who asks again from the start."""

    asked: tuple[int, ...] = ()

    def executions(self, after, limit=-1):
        self.asked = (*self.asked, after)
        told = super().executions(after, limit)
        return told[1:] if len(self.asked) < 3 else told


def test_a_venue_that_told_a_later_execution_first_is_heard_again_from_the_start(bench):
    venue = Withholding(bench.folder / "venues" / "late.db", PRIMARY)
    engine = bench.changed(brokers=(venue,))
    for day in (FRIDAY, MONDAY):
        bench.desk.clock.advance(XNYS.session(day).close)
        outcome = engine.run_session(XNYS.session(day))
    assert (outcome.fills, outcome.breaks[0].kind.value) == (3, "missing here")
    bench.desk.clock.advance(XNYS.next(MONDAY).close)
    outcome = engine.run_session(XNYS.next(MONDAY))
    venue.close()
    assert (outcome.fills, outcome.breaks, venue.asked) == (1, (), (0, 0, 0))
