"""Several bundles in one account: their books add up, their orders explain themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from runtime.domain import OrderState
from runtime.engine import Engine, fund
from runtime.errors import BundleRefused, PolicyInvalid
from runtime.joint.identity import JointLog
from runtime.joint.members import joint_bundle, joint_of
from runtime.joint.shares import CROSSED, LEFT, Shares
from runtime.journal.actions import Dividend, Split
from runtime.journal.adjustments import Adjustments
from runtime.journal.records import CashFlow
from runtime.journal.redecide import redecide
from runtime.registry import RESERVE
from tests.fakes.market import CAPITAL, XNYS, open_bench
from tests.fakes.several import joint_desk, members, tilted

START = date(2017, 1, 3)
FRIDAY, MONDAY = date(2017, 1, 6), date(2017, 1, 9)


@pytest.fixture
def bench(tmp_path):
    opened = open_bench(tmp_path)
    fund(opened.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield opened
    opened.close()


@pytest.fixture
def three(tmp_path):
    """What rose, what fell, and one that decides daily over three of the four names."""
    return {
        "arm.fell": tilted(tmp_path, "fell", tilt=-60.0),
        "arm.quick": tilted(
            tmp_path, "quick", tilt=90.0, schedule="daily", symbols=("AAA", "BBB", "CCC")
        ),
        "champion": tilted(tmp_path, "rose", tilt=60.0, inertia=0.0),
    }


FRACTIONS = {"arm.fell": "0.3", "arm.quick": "0.15", "champion": "0.45"}


def run(desk, first: date, last: date):
    engine, outcomes = Engine(desk), []
    for session in XNYS.sessions(first, last):
        desk.clock.advance(session.close)
        outcomes.append(engine.run_session(session))
    return outcomes


def check_books(desk, shares: Shares) -> None:
    """The books of all add up to the account, symbol by symbol and to the cent."""
    shares.follow()
    last, books = desk.journal.last_session(), shares.books
    for symbol in {*last.positions, *(name for book in books.values() for name in book.units)}:
        held = sum((book.units.get(symbol, Decimal(0)) for book in books.values()), Decimal(0))
        assert held == last.positions.get(symbol, 0), symbol
    assert sum(book.cash for book in books.values()) == last.cash
    assert sum(book.equity(last.marks) for book in books.values()) == last.equity
    assert sum(book.fees for book in books.values()) == desk.journal.book().fees_paid
    for book in books.values():
        assert book.cash == book.cash.quantize(Decimal("0.01"))


def test_the_books_of_all_add_up_to_the_account_after_every_session(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    for session in XNYS.sessions(START, date(2017, 2, 24)):
        run(desk, session.day, session.day)
        if session.day >= START:
            check_books(desk, desk.shares)
    shares = desk.shares
    given = {role: book.given for role, book in shares.books.items()}
    assert given == {
        "arm.fell": Decimal(300_000),
        "arm.quick": Decimal(150_000),
        "champion": Decimal(450_000),
        RESERVE: Decimal(100_000),
    }
    assert shares.books[RESERVE].units == {}
    profits = sum(one.profit for one in shares.days)
    assert profits == desk.journal.last_session().equity - CAPITAL
    assert {one.role for one in shares.days if one.profit} == {*FRACTIONS}


def test_a_restart_folds_the_same_books_from_the_journal(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, date(2017, 2, 3))
    again = Shares(desk.journal, JointLog(desk.journal.engine)).follow()
    desk.shares.follow()
    assert again.books == desk.shares.books
    assert again.days == desk.shares.days


def test_a_bundle_alone_trades_exactly_as_it_does_without_the_machinery(tmp_path):
    ends = []
    for name in ("plain", "joint"):
        bench = open_bench(tmp_path / name)
        fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
        desk = bench.desk
        if name == "joint":
            desk, _ = joint_desk(desk, members({"champion": bench.bundle}, {"champion": "1"}))
        run(desk, START, date(2017, 3, 31))
        journal = desk.journal
        sent = [
            (o.tick, o.symbol, o.leg, o.venue, o.side, o.quantity, o.limit_price)
            for o in (one.order for one in journal.orders())
        ]
        weights = [one.record.weights for one in journal.decisions()]
        words = [[line.order.reason for line in d.record.plan] for d in journal.decisions()]
        curve = [(p.day, p.cash, p.equity, p.benchmark_return) for p in journal.equity_curve()]
        fills = [(f.fill.symbol, f.fill.quantity, f.fill.price) for f in journal.fills()]
        ends.append((sent, weights, words, curve, fills))
        bench.close()
    assert ends[0] == ends[1]
    assert len(ends[0][0]) > 50


def test_one_decision_holds_every_member_s_answer_and_each_order_says_who_asked(bench, three):
    desk, joint = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, date(2017, 1, 12))
    (outcome,) = run(desk, date(2017, 1, 13), date(2017, 1, 13))  # all three decide
    record = desk.journal.decision(outcome.decision.decision_id).record
    assert (record.bundle, record.study) == (joint.hash, "fell+quick+rose")
    assert len(desk.journal.orders(record.decision_id)) >= len(record.plan)
    for role, bundle in three.items():
        n = len(bundle.manifest.symbols)
        for kind in ("score", "weight", "current"):
            assert record.inputs[f"{kind} {role}"].shape == (n,)
    assert record.inputs["5 of prices.close"].shape == (4, 5)  # seen by two, kept once
    assert record.inputs["5 of prices.close for arm.quick"].shape == (3, 5)
    crossed = sum(record.inputs.get(CROSSED + role, np.zeros(4)) for role in three)
    assert not crossed.any()
    assert any(CROSSED + role in record.inputs for role in three)
    for line in record.plan:
        row = record.symbols.index(line.order.symbol)
        waiting = sum(
            record.inputs[LEFT + role][row] for role in three if LEFT + role in record.inputs
        )
        assert waiting == float(line.order.quantity * line.order.side.sign)
        assert " asks " in line.order.reason
    assert any("cross inside, net" in line.order.reason for line in record.plan)
    assert JointLog(desk.journal.engine).find(record.bundle) == joint


def test_a_member_decides_again_from_the_record_to_the_same_bits(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    (*_, outcome) = run(desk, START, FRIDAY)
    kept = desk.journal.decision(outcome.decision.decision_id).record.inputs
    again = three["champion"].session.run(
        {"prices": kept["5 of prices.close"], "current": kept["current champion"]}
    )
    np.testing.assert_array_equal(again.weight, kept["weight champion"])


def test_every_joint_decision_is_decided_again_from_the_journal_to_the_same_bytes(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, date(2017, 2, 3))
    by_hash = {bundle.hash: bundle for bundle in three.values()}
    found = redecide(desk.journal, by_hash.__getitem__, evaluations=60, threads=2)
    assert found.differences == ()
    assert (found.decisions, found.whole, found.evaluations) == (23, 23, 60)
    champion = three["champion"]
    by_hash[champion.hash] = replace(champion, session=three["arm.fell"].session)
    wrong = redecide(desk.journal, by_hash.__getitem__).differences
    fridays = [one.day.isoformat() for one in XNYS.sessions(START, date(2017, 2, 3))]
    assert [one.tick for one in wrong] == [day for day in fridays if _is_friday(day)]
    assert {one.field.partition("[")[0] for one in wrong} <= {"inputs_hash", "scores", "weights"}


def _is_friday(day: str) -> bool:
    return date.fromisoformat(day).weekday() == 4


def test_who_is_not_due_keeps_what_it_holds(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, MONDAY)
    before = {role: dict(book.units) for role, book in desk.shares.follow().books.items()}
    (outcome,) = run(desk, date(2017, 1, 10), date(2017, 1, 10))  # a Tuesday: only the quick one
    after = {role: dict(book.units) for role, book in desk.shares.follow().books.items()}
    assert before["champion"] == after["champion"]
    assert before["champion"]
    assert "champion: rose is not due" in outcome.decision.notes


def test_a_member_whose_data_are_missing_does_not_hold_up_the_others(bench, three, tmp_path):
    hungry = tilted(tmp_path, "hungry", schedule="daily", symbols=("AAA", "BBB"))
    desk, _ = joint_desk(
        bench.desk,
        members({**three, "arm.hungry": hungry}, {**FRACTIONS, "arm.hungry": "0.1"}),
    )
    real = desk.reader.window

    def window(feature, symbols, *, length, at):
        if tuple(symbols) == ("AAA", "BBB"):
            from featurestore.errors import HistoryMissing

            raise HistoryMissing("its vendor is late")
        return real(feature, symbols, length=length, at=at)

    desk.reader.window = window
    (*_, outcome) = run(desk, START, FRIDAY)
    assert outcome.orders > 0
    assert any(
        note.startswith("arm.hungry: hungry wants nothing new: its vendor is late")
        for note in outcome.decision.notes
    )
    run(desk, MONDAY, MONDAY)
    check_books(desk, desk.shares)
    assert desk.shares.books["arm.hungry"].units == {}


def test_capital_that_is_shared_anew_moves_at_that_close_and_is_not_profit(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, date(2017, 1, 19))
    two = {role: three[role] for role in ("arm.fell", "champion")}
    moved, _ = joint_desk(desk, members(two, {"arm.fell": "0.5", "champion": "0.5"}))
    run(moved, date(2017, 1, 20), date(2017, 1, 20))
    check_books(moved, moved.shares)
    last = moved.journal.last_session()
    shares = moved.shares
    for role in two:
        assert abs(shares.books[role].equity(last.marks) - last.equity / 2) <= Decimal("0.01")
    assert shares.books[RESERVE].units  # what the quick one held is sold
    run(moved, date(2017, 1, 23), date(2017, 1, 27))
    check_books(moved, shares)
    assert shares.books.get(RESERVE) is None or not shares.books[RESERVE].units
    assert sum(one.profit for one in shares.days) == moved.journal.last_session().equity - CAPITAL


def test_a_stopped_member_sells_what_it_holds_and_decides_nothing(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, MONDAY)
    assert desk.shares.follow().books["champion"].units
    stopped = tuple(
        replace(one, stopped=True) if one.role == "champion" else one for one in desk.members
    )
    flat, joint = joint_desk(desk, stopped)
    assert joint.seat("champion").stopped
    run(flat, date(2017, 1, 10), date(2017, 1, 11))  # no Friday: it does not wait for its schedule
    check_books(flat, flat.shares)
    assert flat.shares.books["champion"].units == {}
    assert flat.shares.books["arm.fell"].units  # the others go on
    assert flat.shares.books["champion"].given == Decimal(450_000)


def test_one_bundle_again_after_several_owns_the_whole_account(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, date(2017, 1, 19))
    alone = replace(
        desk,
        bundle=three["champion"],
        members=(),
        joint=None,
        shares=None,
        approved=lambda: three["champion"].hash,
    )
    run(alone, date(2017, 1, 20), date(2017, 1, 23))
    check_books(alone, desk.shares)
    assert set(desk.shares.books) == {"champion"}


def test_what_the_registry_no_longer_approves_neither_orders_nor_crosses(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, FRIDAY)
    stale = replace(desk, approved=lambda: "another")
    (outcome,) = run(stale, date(2017, 1, 13), date(2017, 1, 13))
    record = desk.journal.decision(outcome.decision.decision_id).record
    assert record.plan
    assert all(line.denied for line in record.plan)
    assert not any(name.startswith(CROSSED) for name in record.inputs)


def test_the_kill_of_one_study_stops_the_account_it_trades_in(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, date(2017, 1, 12))
    desk.kill.engage("study.quick", "drill", by="ada", at=desk.clock.now())
    (outcome,) = run(desk, date(2017, 1, 13), date(2017, 1, 13))
    states = {one.state for one in desk.journal.orders(outcome.decision.decision_id)}
    assert states <= {OrderState.DENIED, OrderState.CANCELLED}


def test_nothing_crosses_inside_in_a_symbol_that_is_stopped(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, date(2017, 1, 9))  # all four are held
    desk.kill.engage("symbol.BBB", "drill", by="ada", at=desk.clock.now())
    crossed = set()
    for outcome in run(desk, date(2017, 1, 10), date(2017, 1, 27)):
        if outcome.decision is not None:
            record = desk.journal.decision(outcome.decision.decision_id).record
            for name, units in record.inputs.items():
                if name.startswith(CROSSED):
                    crossed |= {record.symbols[row] for row in np.flatnonzero(units)}
    assert crossed == {"AAA", "CCC", "DDD"}


def test_members_must_share_calendar_and_price_and_the_strictest_stage_holds(tmp_path):
    paper = tilted(tmp_path, "paper")
    other = tilted(tmp_path, "other", price_feature="other.close")
    real = tilted(tmp_path, "real", stage="production")
    both = members({"champion": paper, "arm.b": other}, {"champion": "0.5", "arm.b": "0.5"})
    with pytest.raises(BundleRefused, match=r"need one price_feature, were other\.close, prices"):
        joint_bundle(joint_of(both, None), both)
    mixed = members({"champion": real, "arm.b": paper}, {"champion": "0.5", "arm.b": "0.5"})
    assert joint_bundle(joint_of(mixed, None), mixed).stage == "staging"
    alone = members({"champion": real}, {"champion": "1"})
    assert joint_bundle(joint_of(alone, None), alone).stage == "production"


def test_a_desk_with_members_needs_their_books(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    with pytest.raises(PolicyInvalid, match="need their joint and their books"):
        replace(desk, shares=None)


def test_a_turnover_limit_spreads_the_first_purchase_over_several_ticks(bench, three):
    two = {role: three[role] for role in ("arm.fell", "champion")}
    half = {"arm.fell": "0.5", "champion": "0.5"}
    desk, _ = joint_desk(bench.desk, members(two, half), max_turnover="0.2")
    (*_, outcome) = run(desk, START, FRIDAY)
    planned = sum(line.order.notional for line in outcome.decision.plan)
    assert CAPITAL * Decimal("0.19") < planned <= CAPITAL * Decimal("0.2")
    run(desk, MONDAY, date(2017, 1, 13))
    check_books(desk, desk.shares)


def test_money_paid_in_is_shared_by_fraction_and_the_books_still_add_up(bench, three):
    """A payment is shared by fraction and is nobody's profit."""
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, date(2017, 1, 11))
    before = {role: book.copy() for role, book in desk.shares.follow().books.items()}
    desk.journal.record_flow(
        CashFlow(flow_id="more", amount=Decimal("50000.01"), at=desk.clock.now(), note="paid in")
    )
    run(desk, date(2017, 1, 12), date(2017, 1, 12))
    check_books(desk, desk.shares)
    after = desk.shares.books
    given = {role: after[role].given - before[role].given for role in after}
    assert given == {
        "arm.fell": Decimal("15000.00"),
        "arm.quick": Decimal("7500.00"),
        "champion": Decimal("22500.01"),
        RESERVE: Decimal("5000.00"),
    }
    profits = sum(one.profit for one in desk.shares.days)
    assert profits == desk.journal.last_session().equity - CAPITAL - Decimal("50000.01")


def test_dividends_splits_and_charges_go_to_who_holds_the_symbol(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, date(2017, 1, 11))
    before = {role: book.copy() for role, book in desk.shares.follow().books.items()}
    holders = {role: book.units["AAA"] for role, book in before.items() if "AAA" in book.units}
    assert len(holders) > 1
    at, booked = desk.clock.now() + timedelta(hours=17), Adjustments(desk.journal)
    booked.record_action(
        Dividend(action_id="d", symbol="AAA", effective=at, per_unit=Decimal("0.37"))
    )
    booked.record_action(Split(action_id="s", symbol="AAA", effective=at, new=3, old=1))
    run(desk, date(2017, 1, 12), date(2017, 1, 12))
    check_books(desk, desk.shares)
    after = desk.shares.books
    for role, count in holders.items():
        paid = after[role].cash - before[role].cash
        if role != "arm.quick":  # which trades every day
            assert abs(paid - count * Decimal("0.37")) <= Decimal("0.02")
            assert after[role].units["AAA"] == 3 * count
    assert {role: book.given for role, book in after.items()} == {
        role: book.given for role, book in before.items()
    }


def test_what_is_taken_back_is_taken_back_from_who_had_it(bench, three):
    desk, _ = joint_desk(bench.desk, members(three, FRACTIONS))
    run(desk, START, date(2017, 1, 11))
    before = {role: book.copy() for role, book in desk.shares.follow().books.items()}
    at, booked = desk.clock.now() + timedelta(hours=17), Adjustments(desk.journal)
    paid = Dividend(action_id="d", symbol="AAA", effective=at, per_unit=Decimal("0.37"))
    for action in (paid, Split(action_id="s", symbol="AAA", effective=at, new=3, old=1)):
        booked.record_action(action)
    given = {role: book.cash for role, book in desk.shares.follow().books.items()}
    assert any(cash != before[role].cash for role, cash in given.items())
    for name in ("s", "d"):
        booked.take_back(name, by="ada", reason="called off", at=at + timedelta(hours=1))
    for role, book in desk.shares.follow().books.items():
        assert book.units == before[role].units
        assert abs(book.cash - before[role].cash) <= Decimal("0.02"), role
    run(desk, date(2017, 1, 12), date(2017, 1, 12))
    check_books(desk, desk.shares)
