"""What a break does to trading: it blocks, it ages on record, and a person's word frees it."""

from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import pytest

from runtime.clock import ReplayClock
from runtime.domain import Side
from runtime.engine import Engine, fund
from runtime.journal.actions import Correction
from runtime.journal.adjustments import Adjustments
from runtime.journal.breaks import RECONCILIATION, Breaks
from runtime.journal.reconcile import BreakClass
from runtime.policies.policy import default_policy
from runtime.ports import Statement
from tests.fakes.graphs import tilt_manifest
from tests.fakes.market import CAPITAL, XNYS, Bench, open_bench

DAYS = [session.day for session in XNYS.sessions(date(2017, 1, 3), date(2017, 1, 13))]


def run(bench: Bench, engine: Engine, day: date):
    clock = bench.desk.clock
    assert isinstance(clock, ReplayClock)
    clock.advance(XNYS.session(day).close)
    return engine.run_session(XNYS.session(day))


def opened(folder, *, allow: bool) -> Bench:
    loss = msgspec.structs.replace(default_policy().loss, allow_unresolved_breaks=allow)
    policy = msgspec.structs.replace(default_policy(), loss=loss)
    bench = open_bench(folder, manifest=tilt_manifest(schedule="daily"), policy=policy)
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    return bench


def disputed(bench: Bench, units: dict[str, int]) -> None:
    """Let the first venue state that much more of AAA than it holds, as long as `units` says."""
    venue = bench.desk.brokers[0]

    def statement(day: date) -> Statement:
        told = type(venue).statement(venue, day)
        held = dict(told.positions)
        if units["AAA"]:
            held["AAA"] = held.get("AAA", Decimal(0)) + units["AAA"]
        return Statement(
            venue=told.venue,
            day=told.day,
            positions=held,
            cash_flow=told.cash_flow,
            fills=told.fills,
        )

    venue.statement = statement


def risks(outcome, symbol: str | None = None) -> list:
    """Return the plan's lines that add risk: buys, of a book that is long only."""
    return [
        line
        for line in outcome.decision.plan
        if line.order.side is Side.BUY and symbol in (None, line.order.symbol)
    ]


@pytest.fixture(params=[False, True])
def allowed(request):
    return request.param


def test_a_disputed_position_blocks_its_symbol_whatever_the_policy_allows(tmp_path, allowed):
    bench = opened(tmp_path, allow=allowed)
    engine, units = bench.engine(), {"AAA": 0}
    disputed(bench, units)
    for day in DAYS[:3]:
        run(bench, engine, day)
    units["AAA"] = 7
    blocked, free = [], []
    for day in DAYS[3:]:
        outcome = run(bench, engine, day)
        blocked += risks(outcome, "AAA")
        free += [line for line in risks(outcome) if line.order.symbol != "AAA"]
    assert blocked
    assert all(line.denied for line in blocked)
    assert free
    assert any(not line.denied for line in free) is allowed
    (one,) = Breaks(bench.desk.journal).open()  # the same seven units, day after day
    assert (one.found.symbol, one.age(DAYS[-1])) == ("AAA", (DAYS[-1] - DAYS[3]).days)
    bench.desk.journal.verify()
    bench.close()


def test_a_person_s_word_frees_trading_and_is_on_record(tmp_path):
    bench = opened(tmp_path, allow=False)
    engine, units = bench.engine(), {"AAA": 7}
    disputed(bench, units)
    run(bench, engine, DAYS[0])
    breaks = Breaks(bench.desk.journal)
    (one,) = breaks.open()
    assert all(line.denied for line in risks(run(bench, engine, DAYS[1])))
    breaks.resolve(
        one.break_id, by="ada", reason="a stock loan they count", at=bench.desk.clock.now()
    )
    lines = [line for day in DAYS[2:] for line in risks(run(bench, engine, day))]
    assert lines
    assert not any(line.denied for line in lines)
    assert [kept.by for kept in breaks.all()] == ["ada"]
    restarted = bench.engine()
    assert not any(line.denied for line in risks(run(bench, restarted, date(2017, 1, 17))))
    bench.close()


def test_a_venue_that_corrects_itself_frees_trading_by_the_comparison(tmp_path):
    bench = opened(tmp_path, allow=False)
    engine, units = bench.engine(), {"AAA": 7}
    disputed(bench, units)
    run(bench, engine, DAYS[0])
    units["AAA"] = 0
    assert not any(line.denied for line in risks(run(bench, engine, DAYS[1])))
    assert [one.by for one in Breaks(bench.desk.journal).all()] == [RECONCILIATION]
    bench.close()


@pytest.mark.parametrize("busted", [False, True])
def test_an_execution_that_was_corrected_later_is_compared_with_the_venue_again(tmp_path, busted):
    """Its day was compared before, and a price alone changes no position: nobody would see it."""
    bench = opened(tmp_path, allow=False)
    journal = bench.desk.journal
    for day in DAYS[:3]:
        assert run(bench, bench.engine(), day).breaks == ()
    wrong = journal.fills(limit=1)[0].fill
    right = msgspec.structs.replace(wrong, execution_id="typed", price=wrong.price + 1)
    correction = Correction(
        venue=wrong.venue,
        execution_id=wrong.execution_id,
        replacement=None if busted else right,
        at=bench.desk.clock.now(),
        by="ada",
        reason="a slip of the pen",
    )
    Adjustments(journal).record_correction(correction)
    lines = risks(run(bench, bench.engine(), DAYS[3]))
    assert lines
    assert all(line.denied for line in lines)
    kept = [one for one in Breaks(journal).open() if one.found.day == wrong.executed_at.date()]
    (cash,) = [one.found.amount for one in kept if one.found.kind is BreakClass.CASH]
    gross = wrong.price * wrong.quantity * wrong.side.sign + wrong.fee
    assert cash == (-gross if busted else wrong.quantity * wrong.side.sign).quantize(
        Decimal("0.01")
    )
    found = run(bench, bench.engine(), DAYS[4]).breaks  # every start compares it again
    assert bool(found) is busted, "units differ day by day, a price on its own day"
    assert [one for one in Breaks(journal).open() if one in kept] == kept
    for one in Breaks(journal).open():
        Breaks(journal).resolve(one.break_id, by="ada", reason="mine", at=bench.desk.clock.now())
    if not busted:
        assert not any(line.denied for line in risks(run(bench, bench.engine(), DAYS[5])))
    journal.verify()
    bench.close()
