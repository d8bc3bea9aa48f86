"""Splits and dividends that the lake knows are booked as they take effect, once, without a hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from runtime.engine import Engine, fund
from runtime.errors import DatabaseUnavailable, JournalBroken, OrderInvalid
from runtime.execution.lake_actions import LakeActions
from runtime.journal.actions import Charge, ChargeKind, Dividend, Reversal, Split
from runtime.journal.adjustments import Adjustments
from runtime.journal.attribution import attribute
from runtime.journal.reconcile import reconcile
from runtime.journal.redecide import redecide
from runtime.policies.policy import default_policy
from tests.fakes.graphs import tilt_manifest
from tests.fakes.market import CAPITAL, SyntheticMarket, open_bench
from tests.featurestore.test_actions import SESSIONS, action, store_of

DAYS = 16
# A split, a dividend and a split of one morning, one of a name held by nobody, one known late.
KNOWN = (
    action("AAA", 5, split=2.0),
    action("BBB", 7, split=1.5, dividend=0.731),
    action("CCC", 8, dividend=0.25, known=SESSIONS[10].open),
    action("AAA", 11, split=0.25, dividend=0.4),
    action("ZZZ", 6, split=2.0),
)


def open_world(folder: Path, *actions):
    """A bench over prices as they were traded, and the actions that explain their jumps."""
    market = SyntheticMarket()
    places = [one.day for one in market.sessions]
    for one in actions:
        row = market._rows.get(one["entity"])
        if row is not None and one["split"] != 1.0:
            first = places.index(one["event_time"].date())
            market.closes[row, first:] = (market.closes[row, first:] / one["split"]).round(2)
    bench = open_bench(folder, market=market, manifest=tilt_manifest(schedule="daily"))
    store = store_of(folder / "lake", {"AAA": [1.0]}, *actions)
    table = store.reader(store.snapshot()).table("actions")
    bench.desk = replace(bench.desk, actions=LakeActions(table))
    fund(bench.desk.journal, CAPITAL, datetime(2020, 1, 1, tzinfo=UTC))
    return bench


def run(bench, *, first: int = 0, days: int = DAYS) -> list:
    """What each session brought."""
    return run_by(bench, first=first, days=days)[1]


def run_by(bench, *, first: int = 0, days: int = DAYS) -> tuple[Engine, list]:
    """The engine that ran some sessions, and what each brought."""
    engine, told = bench.engine(), []
    for session in SESSIONS[first:days]:
        bench.desk.clock.advance(session.close)
        told.append(engine.run_session(session))
    return engine, told


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def reference(journal) -> tuple[dict[str, Decimal], Decimal]:
    """Positions and cash by a model of ten lines: fills and actions in the order of time."""
    held: dict[str, Decimal] = {}
    cash = CAPITAL
    events = [(one.fill.executed_at, 1, one.fill) for one in journal.fills()]
    for number, one in enumerate(KNOWN):
        events.append((one["event_time"], 0, (number, one)))
    for _, fill, event in sorted(events, key=lambda one: one[:2]):
        if fill:
            signed = event.side.sign * event.quantity
            cash += cents(-signed * event.price - event.fee)
            held[event.symbol] = held.get(event.symbol, Decimal(0)) + signed
        else:
            units = held.get(event[1]["entity"], Decimal(0))
            cash += cents(units * Decimal(repr(event[1]["dividend"])))
            held[event[1]["entity"]] = units * Decimal(repr(event[1]["split"]))
    return {symbol: units for symbol, units in sorted(held.items()) if units}, cash


def test_books_and_venues_stay_right_over_splits_and_dividends_without_an_operator(tmp_path):
    bench = open_world(tmp_path, *KNOWN)
    told_by, told = run_by(bench)
    journal = bench.desk.journal
    assert all(one.breaks == () and one.refusal is None for one in told)
    held = {symbol: one.quantity for symbol, one in journal.book().positions().items()}
    assert (held, journal.book().cash) == reference(journal)
    booked = [(type(one), one.symbol) for one in journal.adjustments()]
    assert booked == [
        (Split, "AAA"),
        (Dividend, "BBB"),
        (Split, "BBB"),
        (Dividend, "CCC"),
        (Dividend, "AAA"),
        (Split, "AAA"),
    ]
    day = SESSIONS[DAYS - 1].day
    parts = [broker.statement(day).positions for broker in bench.desk.brokers]
    assert {name: sum(part.get(name, Decimal(0)) for part in parts) for name in held} == held
    moved = [float(b.equity / a.equity) - 1 for a, b in pairwise(told)]
    assert max(map(abs, moved)) < 0.04, "no session gains or loses what a split seems to"
    beside = [one.benchmark_return for one in told]
    assert max(map(abs, beside)) < 0.04, "nor does the universe beside the account"
    again, before = bench.engine().history.benchmark, told_by.history.benchmark
    assert (again.equity, again._cash) == (before.equity, before._cash), "a restart goes on there"
    assert again._units.tolist() == before._units.tolist()
    for broker in bench.desk.brokers:
        broker.prove()
    journal.verify()
    bench.close()


def test_without_what_the_lake_knows_equity_jumps_and_nothing_else_would_notice(tmp_path):
    bench = open_world(tmp_path, *KNOWN)
    bench.desk = replace(bench.desk, actions=None)
    told = run(bench, days=13)
    moved = [float(b.equity / a.equity) - 1 for a, b in pairwise(told)]
    assert max(map(abs, moved)) > 0.10
    assert bench.desk.journal.adjustments() == ()
    bench.close()


def test_an_action_is_booked_once_over_restarts_and_over_a_failure_between_venue_and_books(
    tmp_path, monkeypatch
):
    whole, broken = open_world(tmp_path / "a", *KNOWN), open_world(tmp_path / "b", *KNOWN)
    run(whole)
    record, failures = Adjustments.record_action, iter([True, False, False, True])

    def fails_at_first(self, event):
        if next(failures, False):
            raise DatabaseUnavailable("gone for a moment")
        return record(self, event)

    monkeypatch.setattr(Adjustments, "record_action", fails_at_first)
    failed = 0
    for session in SESSIONS[:DAYS]:
        broken.desk.clock.advance(session.close)
        for _ in range(3):
            try:
                Engine(broken.desk).run_session(session)
            except DatabaseUnavailable:
                failed += 1
    assert failed == 2
    assert broken.desk.journal.head() == whole.desk.journal.head()
    heads = [[venue.head() for venue in one.desk.brokers] for one in (whole, broken)]
    assert heads[0] == heads[1]
    whole.close()
    broken.close()


def test_what_an_operator_booked_by_hand_is_not_booked_again_and_another_ratio_stops_new_risk(
    tmp_path,
):
    bench = open_world(tmp_path / "same", action("AAA", 5, split=2.0))
    run(bench, days=5)
    by_hand = Split(action_id="aapl-2020", symbol="AAA", effective=SESSIONS[5].open, new=2, old=1)
    Adjustments(bench.desk.journal).record_action(by_hand)
    told = run(bench, first=5, days=8)
    assert bench.desk.journal.adjustments() == (by_hand,)
    assert all(one.breaks == () for one in told)
    bench.close()

    bench = open_world(tmp_path / "other", action("AAA", 5, split=2.0))
    run(bench, days=5)
    Adjustments(bench.desk.journal).record_action(replace(by_hand, new=3))
    (told,) = run(bench, first=5, days=6)
    assert [one.kind for one in told.breaks] != []
    verdicts = [one for line in told.decision.plan for one in line.verdicts if not one.passed]
    assert any(
        "enter the difference as an action of its own" in one.observed + one.reason
        for one in verdicts
    ), verdicts
    bench.close()


def test_a_ratio_that_is_none_stops_new_risk_and_not_the_session(tmp_path):
    bench = open_world(tmp_path, action("AAA", 5, split=1.41421356))
    told = run(bench, days=7)
    assert told[-1].equity is not None
    assert bench.desk.journal.adjustments() == ()
    denied = [line for one in told[5:] for line in one.decision.plan if line.denied]
    assert denied
    bench.close()


def test_a_dividend_that_is_revised_holds_up_no_other_action_and_is_settled_by_its_difference(
    tmp_path,
):
    paid = action("BBB", 5, dividend=0.25)
    revised = {**paid, "dividend": 0.30, "revision": 2, "known_at": SESSIONS[7].open}
    bench = open_world(tmp_path, paid, revised, action("AAA", 9, split=2.0))
    told = run(bench, days=11)
    journal = bench.desk.journal
    assert [(type(one), one.symbol) for one in journal.adjustments()] == [
        (Dividend, "BBB"),
        (Split, "AAA"),
    ]
    assert all(one.breaks == () for one in told)
    assert any(line.denied for line in told[8].decision.plan), "until somebody has looked"
    opens, rest = SESSIONS[5].open, Decimal("0.05")
    difference = Dividend(action_id="the rest", symbol="BBB", effective=opens, per_unit=rest)
    Adjustments(journal).record_action(difference)
    (after,) = run(bench, first=11, days=12)
    assert not any(line.denied for line in after.decision.plan)
    assert after.breaks == ()
    bench.close()


def test_a_dividend_that_is_revised_down_is_settled_by_a_charge_under_the_id_that_it_names(
    tmp_path,
):
    paid = action("BBB", 5, dividend=0.30)
    revised = {**paid, "dividend": 0.25, "revision": 2, "known_at": SESSIONS[7].open}
    bench = open_world(tmp_path, paid, revised)
    journal = bench.desk.journal
    engine, told = run_by(bench, days=9)
    denied = [one for line in told[8].decision.plan for one in line.verdicts if not one.passed]
    name = f"actions/BBB/{SESSIONS[5].open.isoformat()}/dividend/revised/0.250000"
    assert any(name in one.observed + one.reason for one in denied), denied

    def charge(name: str, symbol: str) -> None:
        taken = Charge(
            action_id=name,
            kind=ChargeKind.TAX,
            symbol=symbol,
            effective=SESSIONS[5].open,
            amount=Decimal("1.23"),
        )
        Adjustments(journal).record_action(taken)

    charge("another one", "BBB")
    bench.desk.clock.advance(SESSIONS[9].close)
    after = engine.run_session(SESSIONS[9])
    assert any(line.denied for line in after.decision.plan), "a charge for something else"
    charge(name, "BBB")
    bench.desk.clock.advance(SESSIONS[10].close)
    after = engine.run_session(SESSIONS[10])
    assert not any(line.denied for line in after.decision.plan), "the same engine hears of it"
    assert after.breaks == ()
    bench.close()


def test_a_split_that_is_no_ratio_holds_up_no_other_action_and_is_settled_by_hand(tmp_path):
    bench = open_world(
        tmp_path, action("AAA", 5, split=1.41421356), action("BBB", 6, dividend=0.25)
    )
    engine, _ = run_by(bench, days=8)
    assert [one.symbol for one in bench.desk.journal.adjustments()] == ["BBB"]
    odd = Split(action_id="odd", symbol="AAA", effective=SESSIONS[5].open, new=99, old=70)
    Adjustments(bench.desk.journal).record_action(odd)
    assert (
        engine.entitled.take(
            ("AAA", "BBB"), before=SESSIONS[4].open, opened=SESSIONS[8].open, at=SESSIONS[8].close
        )
        == ()
    )
    bench.close()


CALLED_OFF = {"split": 1.0, "dividend": 0.0, "revision": 2}


def objections(outcome) -> str:
    """What blocked any order of a session, in one text."""
    said = [one for line in outcome.decision.plan for one in line.verdicts if not one.passed]
    return " ".join(f"{one.observed} {one.reason}" for one in said)


def agreed(bench, last: int) -> None:
    """Venues hold what the books do, and every record proves itself."""
    day, journal = SESSIONS[last].day, bench.desk.journal
    parts = [broker.statement(day).positions for broker in bench.desk.brokers]
    held = {symbol: one.quantity for symbol, one in journal.book().positions().items()}
    assert {name: sum(part.get(name, Decimal(0)) for part in parts) for name in held} == held
    for broker in bench.desk.brokers:
        broker.prove()
    journal.verify()


def test_a_split_that_is_called_off_says_what_to_run_and_its_reversal_puts_all_right(tmp_path):
    """The market never split: only the announcement did, and units with it, for four sessions."""
    wrong = action("AAA", 5, split=2.0)
    called_off = {**wrong, **CALLED_OFF, "known_at": SESSIONS[8].open}
    bench = open_bench(tmp_path / "off", manifest=tilt_manifest(schedule="daily"))
    fund(bench.desk.journal, CAPITAL, datetime(2020, 1, 1, tzinfo=UTC))
    store = store_of(tmp_path / "lake", {"AAA": [1.0]}, wrong, called_off)
    actions = LakeActions(store.reader(store.snapshot()).table("actions"))
    policy = default_policy()  # units that were never there are a loss once they are gone
    loss = msgspec.structs.replace(policy.loss, max_daily_loss=Decimal(1))
    policy = msgspec.structs.replace(policy, loss=loss)
    bench.desk = replace(bench.desk, actions=actions, policy=policy)
    engine, told = run_by(bench, days=9)
    journal = bench.desk.journal
    (split,) = journal.adjustments()
    assert objections(told[7]) == ""
    assert f"{split.action_id} is booked and was called off" in objections(told[8])
    assert f"sluice books reverse {split.action_id} --by NAME" in objections(told[8])
    assert told[7].doubts == ()
    assert [one in objections(told[8]) for one in told[8].doubts] == [True]

    books, before, at = Adjustments(journal), journal.head().seq, SESSIONS[8].close
    assert books.take_back(split.action_id, by="ada", reason="called off", at=at)
    assert not books.take_back(split.action_id, by="bob", reason="again", at=at)
    assert journal.head().seq == before + 1
    traded = [(one.fill.symbol, one.fill.side.sign * one.fill.quantity) for one in journal.fills()]
    expected = sum((units for symbol, units in traded if symbol == "AAA"), Decimal(0))
    assert journal.book().position("AAA") == expected
    for session in SESSIONS[9:11]:
        bench.desk.clock.advance(session.close)
        after = engine.run_session(session)
        assert (after.breaks, objections(after)) == ((), "")
    agreed(bench, 10)
    assert [type(one) for one in journal.adjustments()] == [Split, Reversal]
    (again,) = run(bench, first=11, days=12)
    assert (again.breaks, objections(again)) == ((), "")
    for session in SESSIONS[:12]:  # as known now, the days between split and reversal too
        for broker in bench.desk.brokers:
            ours, theirs = (
                journal.statement(broker.name, session.day),
                broker.statement(session.day),
            )
            assert reconcile(ours, theirs) == (), session.day
    found = redecide(journal, lambda _: bench.bundle)
    assert (found.whole, found.differences) == (12, ())
    assert attribute(journal, {}).profit == again.equity - CAPITAL
    bench.close()


def test_a_dividend_revised_down_and_back_is_taken_back_and_booked_anew_each_time(tmp_path):
    paid = action("BBB", 5, dividend=0.30)
    lower = {**paid, "dividend": 0.25, "revision": 2, "known_at": SESSIONS[7].open}
    back = {**paid, "revision": 3, "known_at": SESSIONS[10].open}
    bench = open_world(tmp_path, paid, lower, back)
    engine, told = run_by(bench, days=8)
    journal, books = bench.desk.journal, Adjustments(bench.desk.journal)
    name = f"actions/BBB/{SESSIONS[5].open.isoformat()}/dividend"
    assert f"sluice books reverse {name} --by NAME" in objections(told[7])
    books.take_back(name, by="ada", reason="revised", at=SESSIONS[7].close)
    for session in SESSIONS[8:11]:
        bench.desk.clock.advance(session.close)
        last = engine.run_session(session)
    assert f"sluice books reverse {name}/again/1 --by NAME" in objections(last)
    books.take_back(f"{name}/again/1", by="ada", reason="and back", at=SESSIONS[10].close)
    (after,) = run(bench, first=11, days=12)
    assert (after.breaks, objections(after)) == ((), "")
    booked = [one for one in journal.adjustments() if isinstance(one, Dividend)]
    assert [(one.action_id, one.per_unit) for one in booked] == [
        (name, Decimal("0.300000")),
        (f"{name}/again/1", Decimal("0.250000")),
        (f"{name}/again/2", Decimal("0.300000")),
    ]
    units = sum(
        (
            one.fill.side.sign * one.fill.quantity
            for one in journal.fills()
            if one.fill.symbol == "BBB" and one.fill.executed_at < SESSIONS[5].open
        ),
        Decimal(0),
    )
    assert journal.book().dividends == cents(units * Decimal("0.30"))
    agreed(bench, 11)
    bench.close()


def test_what_was_never_booked_cannot_be_taken_back_and_nobody_does_it_without_a_reason(tmp_path):
    bench = open_world(tmp_path, action("BBB", 5, dividend=0.30))
    run(bench, days=7)
    books, at = Adjustments(bench.desk.journal), SESSIONS[7].close
    (paid,) = bench.desk.journal.adjustments()
    with pytest.raises(
        JournalBroken, match=r"no split or dividend named .other.; its newest are actions/BBB"
    ):
        books.take_back("other", by="ada", reason="why", at=at)
    with pytest.raises(OrderInvalid, match="needs a name and a reason"):
        books.take_back(paid.action_id, by="ada", reason=" ", at=at)
    bench.close()
