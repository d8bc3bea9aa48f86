"""Challengers in shadow: the same inputs, a record, a paper book, and never an order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from featurestore.errors import HistoryMissing
from runtime.database import open_database, transaction
from runtime.engine import Engine, fund
from runtime.errors import DatabaseUnavailable, JournalBroken
from runtime.joint.shadow import Challenger, Shadows
from runtime.joint.shadow_log import ShadowLog
from runtime.journal.actions import Dividend, Split
from runtime.journal.blobs import encode_arrays, hash_of
from runtime.registry import Comparison
from tests.fakes.market import CAPITAL, XNYS, open_bench
from tests.fakes.several import joint_desk, members, tilted

START, END = date(2017, 1, 3), date(2017, 3, 31)
SEATED = datetime(2017, 1, 1, tzinfo=UTC)


@pytest.fixture
def bench(tmp_path):
    opened = open_bench(tmp_path / "one")
    fund(opened.desk.journal, CAPITAL, SEATED)
    yield opened
    opened.close()


def shadowed(bench, bundle, **changes):
    """Return a desk whose champion has this bundle for a challenger, and the record."""
    record = ShadowLog(bench.desk.journal.engine)
    test = Comparison(against=bench.bundle.hash, alpha=0.05, bound=0.02)
    shadows = Shadows(
        record=record,
        account=bench.desk.journal.account,
        calendar=XNYS,
        champion=bench.bundle,
        challengers=(Challenger(role="challenger", bundle=bundle, comparison=test, since=SEATED),),
    )
    return replace(bench.desk, shadows=shadows, **changes), record


def run(desk, first: date, last: date):
    engine = Engine(desk)
    for session in XNYS.sessions(first, last):
        desk.clock.advance(session.close)
        engine.run_session(session)
    return engine


def test_the_account_does_exactly_what_it_does_without_a_challenger(bench, tmp_path):
    other = open_bench(tmp_path / "two")
    fund(other.desk.journal, CAPITAL, SEATED)
    run(other.desk, START, END)
    desk, record = shadowed(bench, tilted(tmp_path / "one", "bold", tilt=90.0, schedule="daily"))
    run(desk, START, END)
    assert desk.journal.head() == other.desk.journal.head()
    assert len(record.decisions("paper", desk.shadows.challengers[0].bundle.hash)) == len(
        XNYS.sessions(START, END)
    )
    other.close()


def test_it_sees_what_the_champion_sees_but_for_the_weights_it_would_hold(bench, tmp_path):
    bundle = tilted(tmp_path / "one", "bold", tilt=90.0)
    desk, record = shadowed(bench, bundle)
    run(desk, START, date(2017, 1, 20))
    decided = record.decisions("paper", bundle.hash)
    real = {one.record.tick: one for one in desk.journal.decisions()}
    assert [one.tick for one in decided] == sorted(real)
    for one in decided:
        seen = desk.journal.decision(real[one.tick].record.decision_id).record.inputs
        inputs = {"prices": seen["prices"], "current": np.array(one.current)}
        assert one.inputs_hash == hash_of(encode_arrays(inputs))
        np.testing.assert_array_equal(one.weights, bundle.session.run(inputs).weight)


def test_its_paper_book_pays_costs_and_fills_at_the_next_close(bench, tmp_path):
    """Oracle: the same decisions walked with plain arrays of weights."""
    bundle = tilted(tmp_path / "one", "bold", tilt=90.0)
    desk, record = shadowed(bench, bundle)
    run(desk, START, END)
    sizing, weights = bundle.manifest.sizing, {}
    for one in record.decisions("paper", bundle.hash):
        weights[one.tick] = np.array(one.weights)
    sessions = XNYS.sessions(START, END)
    prices = np.array(
        [bench.market.window("prices.close", bundle.manifest.symbols, length=1, at=s.close)[:, 0]
         for s in sessions]
    )  # fmt: skip
    cash, units, target, curve = 1.0, np.zeros(4), None, []
    for session, price in zip(sessions, prices, strict=True):
        if target is not None:
            flow = (target - units) * price
            cash -= flow.sum() + sizing.cost_rate * np.abs(flow).sum()
            units, target = target, None
        curve.append(cash + units @ price)
        if session.day.isoformat() in weights:
            target = sizing.invested * weights[session.day.isoformat()] * curve[-1] / price
    found = [one.books[bundle.hash].equity for one in record.days("paper")]
    np.testing.assert_allclose(found, curve, rtol=1e-12)
    compared = record.compare("paper", bundle.hash, desk.shadows.challengers[0].comparison, SEATED)
    assert compared.challenger == pytest.approx(curve[-1] / curve[0] - 1)
    assert len(compared.days) == len(sessions) - 1  # a first close has no return


def test_a_challenger_equal_to_its_champion_never_differs_from_it(bench, tmp_path):
    """Its book is the champion's book by the same rule: nothing to win and nothing to lose."""
    twin = tilted(tmp_path / "one", "twin", inertia=0.0)
    plain = tilted(tmp_path / "one", "plain", inertia=0.0)
    bench.desk = replace(bench.desk, bundle=plain, approved=lambda: plain.hash)
    bench.bundle = plain
    desk, record = shadowed(bench, twin)
    run(desk, START, END)
    found = record.compare("paper", twin.hash, desk.shadows.challengers[0].comparison, SEATED)
    assert found.challenger == found.champion != 0
    assert (found.evidence.better, found.evidence.worse) == (1.0, 1.0)


def test_shadows_that_cannot_be_recorded_hold_up_no_session(bench, tmp_path, caplog):
    desk, record = shadowed(bench, tilted(tmp_path / "one", "other"))

    class Full(ShadowLog):
        def record(self, *_args):
            raise DatabaseUnavailable("the disk is full")

    shadows = replace(desk.shadows, record=Full(desk.journal.engine))
    run(replace(desk, shadows=shadows), START, date(2017, 1, 13))
    assert record.days("paper") == []
    assert [len(one.record.plan) > 0 for one in desk.journal.decisions()] == [True, True]
    assert "are not on record: the disk is full" in caplog.text


def test_a_challenger_that_fails_is_a_refusal_on_record_and_disturbs_nobody(bench, tmp_path):
    bundle = tilted(tmp_path / "one", "hungry", symbols=("AAA", "BBB"))
    desk, record = shadowed(bench, bundle)
    real = desk.reader.window

    def window(feature, symbols, *, length, at):
        if tuple(symbols) == ("AAA", "BBB"):
            raise HistoryMissing("its vendor is late")
        return real(feature, symbols, length=length, at=at)

    desk.reader.window = window
    run(desk, START, date(2017, 1, 20))
    decided = record.decisions("paper", bundle.hash)
    assert {one.refused for one in decided} == {"its vendor is late"}
    assert {len(one.record.plan) for one in desk.journal.decisions()} == {4}
    assert record.days("paper")[-1].books[bundle.hash].equity == 1.0


def test_a_restart_goes_on_where_the_record_stands_and_a_session_is_run_once(bench, tmp_path):
    bundle = tilted(tmp_path / "one", "bold", tilt=90.0)
    desk, record = shadowed(bench, bundle)
    run(desk, START, date(2017, 1, 20))
    before = record.verify()
    run(desk, date(2017, 1, 20), date(2017, 1, 20))  # closed already
    assert record.verify() == before
    run(desk, date(2017, 1, 23), END)
    whole = open_bench(tmp_path / "two")
    fund(whole.desk.journal, CAPITAL, SEATED)
    again, other = shadowed(whole, tilted(tmp_path / "two", "bold", tilt=90.0))
    run(again, START, END)
    assert other.days("paper") == record.days("paper")
    whole.close()


def test_in_an_account_of_several_it_is_compared_with_the_champion_among_them(bench, tmp_path):
    folder = tmp_path / "one"
    rose, fell = tilted(folder, "rose", tilt=60.0), tilted(folder, "fell", tilt=-60.0)
    of = members({"champion": rose, "arm.b": fell}, {"champion": "0.5", "arm.b": "0.5"})
    desk, _ = joint_desk(bench.desk, of)
    bench.bundle = rose
    bold = tilted(folder, "bold", tilt=90.0)
    _, record = shadowed(bench, bold)
    shadows = Shadows(
        record=record,
        account="paper",
        calendar=XNYS,
        champion=rose,
        challengers=(
            Challenger(
                role="challenger",
                bundle=bold,
                comparison=Comparison(against=rose.hash, alpha=0.05, bound=0.02),
                since=SEATED,
            ),
        ),
    )
    run(replace(desk, shadows=shadows), START, date(2017, 2, 3))
    last = record.days("paper")[-1]
    assert set(last.books) == {rose.hash, bold.hash}
    assert last.books[rose.hash].units


def test_days_before_a_challenger_was_seated_do_not_count(bench, tmp_path):
    bundle = tilted(tmp_path / "one", "bold", tilt=90.0)
    desk, record = shadowed(bench, bundle)
    run(desk, START, END)
    test = desk.shadows.challengers[0].comparison
    whole = record.compare("paper", bundle.hash, test, SEATED)
    late = record.compare("paper", bundle.hash, test, SEATED + timedelta(days=45))
    assert late.days == whole.days[-len(late.days) :]
    assert late.days[0] >= date(2017, 2, 15)
    other = Comparison(against="f" * 64, alpha=0.05, bound=0.02)
    assert record.compare("paper", bundle.hash, other, SEATED).days == ()


def test_a_changed_shadow_is_found(bench, tmp_path):
    desk, record = shadowed(bench, tilted(tmp_path / "one", "bold"))
    run(desk, START, date(2017, 1, 6))
    database = open_database(str(desk.journal.engine.url))
    with transaction(database) as connection:
        connection.exec_driver_sql("UPDATE shadows SET payload = '{}' WHERE seq = 2")
    with pytest.raises(JournalBroken, match="entry 2"):
        record.verify()


def test_a_paper_book_earns_the_same_whether_or_not_a_share_is_split(tmp_path):
    whole = {"AAA": [50.0, 51.0, 49.5, 55.0], "BBB": [20.0, 20.5, 21.0, 20.0]}
    halved = {**whole, "AAA": [50.0, 51.0, 24.75, 27.5]}
    split = Split(action_id="s", symbol="AAA", effective=DAYS[2].open, new=2, old=1)
    plain, scaled = (
        paper_returns(tmp_path / name, closes, actions)
        for name, closes, actions in (("plain", whole, []), ("scaled", halved, [split]))
    )
    np.testing.assert_allclose(scaled, plain, rtol=1e-12)
    assert plain[1] == pytest.approx(0.5 * (49.5 / 51 - 1) + 0.4 * (21 / 20.5 - 1), abs=2e-3)


def test_a_split_between_wish_and_trade_scales_what_is_wished(tmp_path):
    whole = {"AAA": [50.0, 51.0, 49.5, 55.0], "BBB": [20.0, 20.5, 21.0, 20.0]}
    early = {**whole, "AAA": [50.0, 25.5, 24.75, 27.5]}
    split = Split(action_id="s", symbol="AAA", effective=DAYS[1].open, new=2, old=1)
    plain = paper_returns(tmp_path / "plain", whole, [])
    np.testing.assert_allclose(paper_returns(tmp_path / "early", early, [split]), plain, rtol=1e-12)


def test_a_paper_book_is_paid_the_dividend_by_which_its_share_falls(tmp_path):
    whole = {"AAA": [50.0, 51.0, 51.0, 51.0], "BBB": [20.0, 20.0, 20.0, 20.0]}
    fallen = {**whole, "AAA": [50.0, 51.0, 50.0, 50.0]}
    paid = Dividend(action_id="d", symbol="AAA", effective=DAYS[2].open, per_unit=Decimal(1))
    with_it = paper_returns(tmp_path / "paid", fallen, [paid])
    without = paper_returns(tmp_path / "unpaid", fallen, [])
    assert with_it[1] == pytest.approx(0.0, abs=1e-12)
    assert without[1] == pytest.approx(-0.5 / 50, rel=0.03)
    assert with_it[2] == without[2] == 0.0


DAYS = XNYS.sessions(date(2017, 1, 3), date(2017, 1, 6))


def paper_returns(folder, closes, actions):
    """The champion's paper book: half in AAA and 0.4 in BBB, decided on the first day alone."""
    folder.mkdir()
    bundle = tilted(folder, "paper", symbols=tuple(closes))
    record = ShadowLog(open_database(f"sqlite:///{folder / 'shadows.db'}"))

    def known(since, *, after, until, at):
        return [one for one in actions if since.get(one.symbol, at) < one.effective <= until]

    shadows = Shadows(
        record=record,
        account="paper",
        calendar=XNYS,
        champion=bundle,
        challengers=(),
        actions=known,
    )
    for number, session in enumerate(DAYS):
        shadows.run(
            None,
            at=session.close,
            day=session.day,
            marks={name: Decimal(str(each[number])) for name, each in closes.items()},
            decided=np.array([0.5, 0.4]) if number == 0 else None,
        )
    found = [day.returns.get(bundle.hash) for day in record.days("paper")]
    assert len(found) == len(DAYS)
    return found[1:]
