"""A kill at any moment of a session: working orders are cancelled and new ones denied."""

from __future__ import annotations

from datetime import date

import pytest

from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.domain import OrderState
from runtime.errors import FeedInvalid
from tests.fakes.graphs import SYMBOLS
from tests.fakes.market import XNYS
from tests.runtime.engine.sessions import FRIDAY, MONDAY, run


def test_a_kill_engaged_overnight_cancels_working_orders_before_the_next_bar_and_blocks_new_ones(
    bench,
):
    run(bench, FRIDAY)
    (bench.folder / "kill" / "all").touch()
    assert run(bench, MONDAY).fills == 0
    journal = bench.desk.journal
    assert {o.state for o in journal.orders()} == {OrderState.CANCELLED}
    assert all("kill switch all" in order.note for order in journal.orders())
    assert journal.book().positions() == {}
    week = [session.day for session in XNYS.sessions(date(2017, 1, 10), date(2017, 1, 13))]
    outcome = run(bench, *week)
    assert outcome.orders == 0
    assert outcome.denied == len(outcome.decision.plan) > 0
    assert "all on" in outcome.decision.plan[0].verdicts[0].observed


def test_a_kill_cancels_though_the_feed_is_down(bench):
    run(bench, FRIDAY)
    bench.desk.kill.engage("all", "feed is gone")

    class Gone(type(bench.desk.feed)):
        def bars(self, symbols, at):
            raise FeedInvalid("nobody answers")

    with pytest.raises(FeedInvalid):
        run(bench, MONDAY, engine=bench.changed(feed=Gone(bench.market, "prices.close")))
    assert {o.state for o in bench.desk.journal.orders()} == {OrderState.CANCELLED}


def test_a_kill_of_one_symbol_cancels_its_orders_and_lets_the_others_fill(bench):
    run(bench, FRIDAY)
    bench.desk.kill.engage("symbol.BBB", "odd prints")
    run(bench, MONDAY)
    ended = {o.order.symbol: o.state for o in bench.desk.journal.orders()}
    assert ended == dict.fromkeys(SYMBOLS, OrderState.FILLED) | {"BBB": OrderState.CANCELLED}


def test_working_orders_are_cancelled_before_the_next_bar_when_the_kill_is_on(bench):
    engine = bench.engine()
    run(bench, FRIDAY, engine=engine)
    bench.desk.kill.engage("study.tilt", "looks wrong")
    session = XNYS.session(FRIDAY)
    engine.venues.settle(session.close, FRIDAY)  # what a live operator triggers the same evening
    assert {o.state for o in bench.desk.journal.orders()} == {OrderState.CANCELLED}
    assert "looks wrong" in bench.desk.journal.orders()[0].note
    assert run(bench, MONDAY, engine=engine).fills == 0


def test_intents_are_denied_if_the_kill_comes_between_commit_and_send(bench):
    kill = bench.desk.kill

    class KillsWhenAsked(PaperVenue):
        def quote(self, symbol, at):
            if "all" not in kill.engaged():
                kill.engage("all", "in between")
            return super().quote(symbol, at)

    venue = KillsWhenAsked(bench.folder / "venues" / "late.db", PRIMARY)
    engine = bench.changed(brokers=(venue,))
    run(bench, FRIDAY, engine=engine)
    orders = bench.desk.journal.orders()
    assert orders
    assert {order.state for order in orders} == {OrderState.DENIED}
    assert all(venue.find(order.order.order_id) is None for order in orders)
