"""Told halts lie on top of what is known of the market: they take orders away and give none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import product

import pytest

from runtime.engine import fund
from runtime.errors import FeedInvalid
from runtime.journal.redecide import redecide
from runtime.market.states import MarketState, Published, overlaid
from tests.fakes.graphs import tilt_manifest
from tests.fakes.market import CAPITAL, SYMBOLS, XNYS, open_bench

DAYS = XNYS.sessions(date(2017, 1, 4), date(2017, 1, 13))
NOON = datetime(2017, 1, 4, 17, tzinfo=UTC)
HALT = {"BBB": Published(state=MarketState.HALTED, at=NOON, code="T1")}


@pytest.fixture
def bench(tmp_path):
    found = open_bench(tmp_path, manifest=tilt_manifest(schedule="daily"))
    fund(found.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield found
    found.close()


def run(bench, session, **changes):
    bench.desk.clock.advance(session.close)
    return bench.changed(**changes).run_session(session)


def denied(outcome) -> dict[str, set[str]]:
    """Return symbol -> reasons, of what check 2 denied."""
    found: dict[str, set[str]] = {}
    for line in outcome.decision.plan:
        for one in line.verdicts:
            if one.check == "2 market" and not one.passed:
                found.setdefault(line.order.symbol, set()).add(one.reason)
    return found


def planned(outcome) -> set[str]:
    return {line.order.symbol for line in outcome.decision.plan}


def halted(at: datetime) -> dict[str, Published]:
    return {name: replace(one, at=at) for name, one in HALT.items()}


def test_a_halt_makes_no_state_milder_and_moves_no_other_symbol():
    old = NOON - timedelta(hours=1)
    told = (MarketState.HALTED, MarketState.PAUSE)
    for state, halt in product(MarketState, told):
        known = {name: Published(state=state, at=old, bid=None) for name in ("AAA", "BBB")}
        found = overlaid(known, {"BBB": Published(state=halt, at=NOON, code="T1")})
        assert found["AAA"] is known["AAA"], "neither its state nor its age"
        assert found["BBB"].state is not MarketState.NORMAL
        if state in (MarketState.HALTED, MarketState.CLOSE_ONLY):
            assert found["BBB"].state is state
        else:
            assert found["BBB"].state is halt
    assert set(overlaid({}, HALT)) == {"BBB"}, "what nothing is known of stays unknown"


@pytest.mark.parametrize("published", [False, True])
def test_only_what_is_told_is_taken_from_a_market_and_a_resume_gives_only_that_back(
    bench, published
):
    paused = {"CCC": MarketState.PAUSE}

    def market(at):
        return {
            name: Published(state=paused.get(name, MarketState.NORMAL), at=at) for name in SYMBOLS
        }

    base = market if published else None
    already = {"CCC"} if published else set()
    outcome = run(bench, DAYS[0], market=base, halts=halted)
    assert {"BBB", "CCC"} < planned(outcome)
    assert denied(outcome).keys() == {"BBB"} | already
    assert denied(outcome)["BBB"] == {"the market takes no new risk, code T1"}
    after = run(bench, DAYS[1], halts=lambda at: {})
    assert "BBB" in planned(after)
    assert denied(after).keys() == already & planned(after)
    found = redecide(bench.desk.journal, lambda _: bench.bundle)
    assert (found.whole, found.differences) == (2, ())


def test_a_venue_of_money_that_publishes_nothing_takes_no_order_whatever_was_told_and_resumed(
    bench, monkeypatch
):
    monkeypatch.setattr(type(bench.desk), "simulated", property(lambda _: False))
    for session, halts in zip(DAYS, (halted, lambda at: {}), strict=False):
        outcome = run(bench, session, halts=halts)
        assert outcome.orders == 0
        assert denied(outcome).keys() == planned(outcome) > {"BBB"}
        unknown = {name for name, why in denied(outcome).items() if name != "BBB"}
        assert {why for name in unknown for why in denied(outcome)[name]} == {
            "no market state was published"
        }
    assert denied(outcome)["BBB"] == {"no market state was published"}


def test_a_state_that_has_grown_old_is_made_no_fresher_by_a_halt_of_another_symbol(bench):
    old = timedelta(days=10)

    def market(at):
        return {name: Published(state=MarketState.NORMAL, at=at - old) for name in SYMBOLS}

    outcome = run(bench, DAYS[0], market=market, halts=halted)
    others = {name: why for name, why in denied(outcome).items() if name != "BBB"}
    assert others.keys() == planned(outcome) - {"BBB"}
    assert {one for why in others.values() for one in why} == {"the market state is stale"}


def test_what_was_told_is_decided_on_again_to_the_same_bytes_and_so_is_what_could_not_be_had(bench):
    def gone(at):
        raise FeedInvalid("halts.jsonl: it ends at line 0, but line 3 was told")

    ways = (halted, gone, None, lambda at: {}, halted)
    for session, halts in zip(DAYS, ways, strict=False):
        run(bench, session, halts=halts)
    kept = [one.record for one in reversed(bench.desk.journal.decisions(limit=10))]
    refused = ["line 3 was told" in " ".join(one.notes) for one in kept]
    assert refused == [False, True, False, False, False]
    found = redecide(bench.desk.journal, lambda _: bench.bundle)
    assert (found.whole, found.differences) == (len(ways), ())
