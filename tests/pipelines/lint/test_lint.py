"""Backtest lint: a culprit for every rule, and an honest strategy that raises no alarm."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from featurestore.calendars import load_calendar
from pipelines.backtest import Backtest
from pipelines.books import keep_books
from pipelines.definition import definition_of
from pipelines.evaluate import evaluate_trial
from pipelines.ledger import Charge
from pipelines.lint import Context, lint_backtest
from pipelines.lint.rules import break_even_cost, luckiest_sharpe
from pipelines.research import lint
from pipelines.workspace import Workspace
from runtime.bundles.contract import SizingPolicy
from runtime.clock import ReplayClock
from runtime.scheduling.schedule import decision_sessions
from tests.fakes.studies import momentum, small_study

CALENDAR = load_calendar("XNYS")
START, END = date(1999, 12, 31), date(2012, 12, 31)
SESSIONS = CALENDAR.sessions(START, END)
ROWS = {session.day: row for row, session in enumerate(SESSIONS)}
NAMES = tuple(f"S{i:02d}" for i in range(20))
COST = 0.0005
SIZING = SizingPolicy(invested=0.98, cost_rate=COST)
CONTEXT = Context(
    cost_rate=COST,
    invested=0.98,
    parameters=2,
    configurations=8,
    survivors=False,
    capital=1_000_000.0,
    daily_notional=np.full(20, 2e8),
)


def trending_prices(seed=5):
    """Names whose drift changes slowly: past winners really do go on, a little."""
    rng = np.random.default_rng(seed)
    days, n = len(SESSIONS), len(NAMES)
    drift = np.empty((days, n))
    drift[0] = rng.normal(0.0, 7e-4, n)
    for t in range(1, days):
        drift[t] = 0.995 * drift[t - 1] + rng.normal(0.0, 7e-4 * np.sqrt(1 - 0.995**2), n)
    noise = rng.normal(0.0, 0.012, (days, n))
    return 40.0 * np.exp(np.cumsum(drift + noise + 2e-4, axis=0))


def decision_rows(schedule="month_end"):
    found = [ROWS[s.day] for s in decision_sessions(schedule, CALENDAR, START, END)]
    return np.array([row for row in found if 64 <= row < len(SESSIONS) - 1], dtype=np.intp)


def winners(prices, row, top=10):
    past = prices[row] / prices[row - 63] - 1.0
    held = np.zeros(len(NAMES))
    held[np.argsort(-past, kind="stable")[:top]] = 1.0 / top
    return held


def made(prices, rule=winners, rows=None, sizing=SIZING) -> Backtest:
    """A backtest of plain weights, with the benchmark that real ones have."""
    rows = decision_rows() if rows is None else rows
    first = rows[0]
    shifted, seen = rows - first, prices[first:]
    weights = np.array([rule(prices, row) for row in rows])
    books = keep_books(seen, shifted, lambda i, _: weights[i], sizing)
    equal = np.full(len(NAMES), 1.0 / len(NAMES))
    return Backtest(
        study="made",
        symbols=NAMES,
        dates=tuple(s.day for s in SESSIONS[first + 1 :]),
        decided_at=tuple(SESSIONS[row].close for row in rows),
        fill_rows=shifted,
        inputs_hash=("",) * len(rows),
        scores=weights,
        weights=weights,
        opening=seen[0],
        prices=seen[1:],
        books=books,
        benchmark_books=keep_books(seen, shifted, lambda i, _: equal, sizing),
    )


@pytest.fixture(scope="module")
def honest():
    return made(trending_prices())


def test_an_honest_strategy_raises_no_alarm_and_no_note(honest):
    report = lint_backtest(honest, CONTEXT)
    assert report.alarms == (), repr(report)
    assert report.notes == (), repr(report)
    assert report.headline == "No alarm from 11 rules."


def test_other_honest_markets_raise_no_alarm_either():
    for seed in range(6, 12):
        report = lint_backtest(made(trending_prices(seed)), CONTEXT)
        assert report.alarms == (), repr(report)


def never(prices, row):
    return np.zeros(len(NAMES))


def rarely(prices, row):
    """All cash but for the first two years."""
    return winners(prices, row) if SESSIONS[row].day < date(2002, 1, 1) else never(prices, row)


def test_a_strategy_that_never_trades_is_told_so_and_that_its_equity_is_flat():
    report = lint_backtest(made(trending_prices(), never), CONTEXT)
    assert {"zero trades", "flat equity"} <= set(report.alarms)
    assert "preview" in report.finding("zero trades").advice


def test_a_handful_of_trades_is_called_chance():
    rows = decision_rows()[::60]
    report = lint_backtest(made(trending_prices(), lambda p, r: winners(p, r, 3), rows), CONTEXT)
    assert "zero trades" in report.alarms
    assert "below 30 bets" in report.finding("zero trades").seen


def test_years_in_cash_are_named_with_their_dates():
    report = lint_backtest(made(trending_prices(), rarely), CONTEXT)
    assert "flat equity" in report.alarms
    assert "2002" in report.finding("flat equity").seen
    assert "2012-12-31" in report.finding("flat equity").seen


def test_fills_on_the_deciding_close_are_found(honest):
    early = replace(
        honest,
        decided_at=tuple(CALENDAR.session(honest.dates[row]).close for row in honest.fill_rows),
    )
    report = lint_backtest(early, CONTEXT)
    assert "same-bar fills" in report.alarms
    assert f"{len(honest.fill_rows)} of {len(honest.fill_rows)}" in (
        report.finding("same-bar fills").seen
    )


def test_a_feed_filled_forward_is_found_where_it_was_traded(honest):
    prices = trending_prices()
    traded = [row + honest_first_row() + 1 for row in honest.fill_rows[10:40]]
    for row in traded:
        prices[row - 2 : row + 1, 4:9] = prices[row - 3, 4:9]
    report = lint_backtest(made(prices), CONTEXT)
    assert "stale fills" in report.alarms
    assert "most of it in S0" in report.finding("stale fills").seen


def honest_first_row():
    return int(decision_rows()[0])


def test_two_equal_closes_are_not_called_stale(honest):
    prices = trending_prices()
    for row in honest.fill_rows + honest_first_row() + 1:
        prices[row, 4:9] = prices[row - 1, 4:9]
    assert "stale fills" not in lint_backtest(made(prices), CONTEXT).alarms


def test_a_gain_that_sits_in_the_first_session_is_lost_by_delay():
    prices = trending_prices()

    def foresight(seen, row):
        """Knows the session after its fill."""
        ahead = seen[min(row + 2, len(seen) - 1)] / seen[row + 1]
        held = np.zeros(len(NAMES))
        held[np.argsort(-ahead)[:10]] = 0.1
        return held

    report = lint_backtest(made(prices, foresight, decision_rows("week_end")), CONTEXT)
    assert "late fills" in report.alarms
    assert "known later" in report.finding("late fills").advice


def test_an_unadjusted_split_is_found_as_a_few_days():
    flat = 40.0 * np.exp(
        np.cumsum(np.random.default_rng(3).normal(0.0, 0.01, (len(SESSIONS), 20)), axis=0)
    )
    flat[2000:, 7] *= 12.0  # one bad print

    def holds_it(prices, row):
        held = np.full(len(NAMES), 0.5 / (len(NAMES) - 1))
        held[7] = 0.5
        return held

    report = lint_backtest(made(flat, holds_it), CONTEXT)
    assert "a few days" in report.alarms
    jump = SESSIONS[2000].day
    assert str(jump) in report.finding("a few days").seen


def test_a_prophet_is_too_good():
    prices = trending_prices()

    def prophet(seen, row):
        held = np.zeros(len(NAMES))
        ahead = seen[min(row + 6, len(seen) - 1)] / seen[row + 1]
        held[np.argsort(-ahead)[:5]] = 0.2
        return held

    report = lint_backtest(made(prices, prophet, decision_rows("week_end")), CONTEXT)
    assert "too good" in report.alarms


def test_more_configurations_than_decisions_are_too_many(honest):
    report = lint_backtest(honest, replace(CONTEXT, configurations=5000))
    assert "too many parameters" in report.alarms
    assert "too many parameters" in lint_backtest(honest, replace(CONTEXT, parameters=6)).alarms


def test_a_trial_below_the_luck_of_its_search_gets_a_note_with_the_years_it_lacks():
    context = replace(CONTEXT, configurations=100)
    finding = lint_backtest(made(trending_prices(7)), context).finding("too many parameters")
    assert finding.level == "note"
    assert "fewer configurations, or " in finding.advice


def test_what_the_ledger_charges_raises_the_hurdle_above_the_declared_space(honest):
    rule = "too many parameters"
    charge = Charge(studies=("s",), trials=60, runs=2, leases=3)
    alone = lint_backtest(honest, CONTEXT).finding(rule)
    charged = lint_backtest(honest, replace(CONTEXT, charge=charge)).finding(rule)
    assert "8 configurations, 62 to 65 tries on record" in charged.seen
    years = len(honest.dates) / 252
    assert f"Luck alone would show {luckiest_sharpe(65) / np.sqrt(years):.2f}" in charged.seen
    assert f"Luck alone would show {luckiest_sharpe(8) / np.sqrt(years):.2f}" in alone.seen
    once = lint_backtest(honest, replace(CONTEXT, charge=replace(charge, trials=1, runs=0)))
    assert "1 to 4 tries on record" in once.finding(rule).seen
    assert f"show {luckiest_sharpe(8) / np.sqrt(years):.2f}" in once.finding(rule).seen
    many = replace(CONTEXT, charge=replace(charge, leases=5000))
    assert rule in lint_backtest(honest, many).alarms


@pytest.mark.parametrize(("trials", "expected"), [(10, 1.57), (45, 2.21), (100, 2.53)])
def test_the_luckiest_of_n_is_the_one_of_the_paper(trials, expected):
    """Bailey et al. (2014): E[max] of N = 10 is 1.57; five years allow 45 trials for a ratio of 1.

    2.53 for N = 100 is the same approximation, as the deflated Sharpe paper uses it.
    """
    assert luckiest_sharpe(trials) == pytest.approx(expected, abs=0.04)


def test_forty_five_trials_in_five_years_show_a_sharpe_ratio_of_one():
    assert luckiest_sharpe(45) / np.sqrt(5.0) == pytest.approx(1.0, abs=0.02)


def test_thin_margins_over_costs_are_a_matter_of_capacity():
    prices = trending_prices()
    thin = made(prices, rows=decision_rows("daily"))
    even = break_even_cost(thin)
    context = replace(CONTEXT, cost_rate=even / 1.5)
    assert "capacity" in lint_backtest(thin, context).alarms
    dear = made(
        prices, rows=decision_rows("daily"), sizing=SizingPolicy(invested=0.98, cost_rate=even)
    )
    # At its break-even cost the excess is gone, but for compounding.
    assert abs(float(dear.excess.sum())) < 0.15 * abs(float(thin.excess.sum()))


def test_thin_names_limit_the_capital(honest):
    thin = replace(CONTEXT, daily_notional=np.full(20, 1e4))
    report = lint_backtest(honest, thin)
    assert "capacity" in report.alarms
    assert "impact takes half" in report.finding("capacity").seen
    unknown = lint_backtest(honest, replace(CONTEXT, daily_notional=None))
    assert unknown.notes == ("capacity",)


def test_borrowed_cash_is_an_alarm():
    report = lint_backtest(
        made(
            trending_prices(),
            lambda p, r: 1.2 * winners(p, r),
            sizing=SizingPolicy(invested=1.0, cost_rate=COST),
        ),
        CONTEXT,
    )
    assert "overdrawn cash" in report.alarms


def test_survivors_are_noted(honest):
    assert lint_backtest(honest, replace(CONTEXT, survivors=True)).notes == ("survivors",)


def test_every_alarm_and_note_comes_with_advice_and_alarms_stand_first(honest):
    report = lint_backtest(honest, replace(CONTEXT, survivors=True, configurations=5000))
    levels = [one.level for one in report.findings]
    assert levels == sorted(levels, key=("alarm", "note", "fine").index)
    for one in report.findings:
        assert one.seen.endswith(".")
        assert bool(one.advice) is (one.level != "fine")
    assert "alarm from 11 rules: too many parameters." in repr(report)
    page = report._repr_html_()
    assert "✗" in page
    assert "<em>" in page


def test_a_recorded_trial_is_linted_with_its_own_study(tmp_path, market_lake):
    workspace = Workspace(
        tmp_path,
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
        clock=ReplayClock(datetime(2024, 5, 1, tzinfo=UTC)),
    )
    trial = evaluate_trial(definition_of(small_study(), momentum(21, 3)), workspace)
    report = lint(trial, workspace=workspace)
    assert "1 try on record" in report.finding("too many parameters").seen
    assert "survivors" in report.notes
    assert "same-bar fills" not in report.alarms
