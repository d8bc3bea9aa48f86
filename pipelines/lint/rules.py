"""The rules of backtest lint: pure functions of a backtest, each with the advice it gives.

Thresholds are named constants with their reason. A rule that cannot be judged says so as a note.
"""

import math
from statistics import NormalDist

import numpy as np

from pipelines.backtest import Backtest
from pipelines.books import keep_books
from pipelines.errors import StrategyInvalid
from pipelines.ledger.scopes import Charge
from pipelines.lint.findings import Finding, alarm, fine, note
from pipelines.performance import SESSIONS_PER_YEAR, sharpe
from runtime.bundles.contract import SizingPolicy
from runtime.bundles.inputs import Array
from runtime.execution.impact import square_root_impact

STALE_RUN = 3  # equal closes in a row: a real price of a traded name rarely stands still so long
STALE_SHARE = 0.01  # of traded notional that may meet stale prices
FLAT_RUN = 63  # sessions without any movement: a quarter in which nothing was held, or no data came
FEW_TRADES = 30  # a mean of fewer independent bets says nothing
FEW_DAYS = 0.002  # share of all days whose absence may erase the gain
FEW_DAYS_AT_LEAST = 5
TOO_GOOD = 3.0  # annualised Sharpe ratio in excess; the best daily strategies in print stay below
MANY_PARAMETERS = 5  # von Neumann's elephant needs four, five wiggle its trunk
LOST_BY_DELAY = 0.5  # share of the excess return that one session of delay may take
BREAK_EVEN = 2.0  # costs must be able to double
OVERDRAWN = -0.05  # of equity, after a fill
EULER_GAMMA = 0.5772156649015329


def zero_trades(result: Backtest) -> Finding:
    """Judge whether enough was traded for the returns to mean anything."""
    rule = "zero trades"
    traded = int((result.books.orders != 0.0).sum())
    idle = int((result.books.traded == 0.0).sum())
    count = f"{traded} orders at {len(result.decided_at)} decisions"
    if traded == 0:
        return alarm(
            rule,
            f"Nothing was ever traded: {count}.",
            "Look at one decision with preview(): are all weights zero, or the inputs flat?",
        )
    if traded < FEW_TRADES:
        return alarm(
            rule,
            f"Only {count}; below {FEW_TRADES} bets the mean return is chance.",
            "Use a denser schedule, a longer window or a wider universe.",
        )
    if idle > len(result.decided_at) // 2:
        return note(
            rule,
            f"{idle} of {len(result.decided_at)} decisions traded nothing.",
            "If that is not meant, compare the condition with the range of its input.",
        )
    return fine(rule, f"{count}.")


def flat_equity(result: Backtest) -> Finding:
    """Judge whether equity stands still for long, as it does without data or positions."""
    rule = "flat equity"
    run, end = _longest_run(result.net == 0.0)
    if run >= FLAT_RUN:
        first, last = result.dates[end - run + 1], result.dates[end]
        return alarm(
            rule,
            f"Equity does not move for {run} sessions, {first} to {last}.",
            "Check whether prices stood still then, or no position was held; "
            "a Sharpe ratio over idle months flatters the strategy's risk.",
        )
    return fine(rule, f"Longest standstill: {run} sessions.")


def same_bar_fills(result: Backtest) -> Finding:
    """Judge whether any decision was filled on the bar it was made from."""
    rule = "same-bar fills"
    filled_on = [result.dates[row] for row in result.fill_rows]
    early = [
        at.date() for at, day in zip(result.decided_at, filled_on, strict=True) if day <= at.date()
    ]
    if early:
        return alarm(
            rule,
            f"{len(early)} of {len(filled_on)} decisions are filled at or before the close "
            f"they were made from, first {early[0]}.",
            "Fill on the next bar: a close that decides cannot be traded at as well.",
        )
    return fine(rule, "Every fill is later than its decision.")


def stale_fills(result: Backtest) -> Finding:
    """Judge how much was traded at prices that had not moved for sessions."""
    rule = "stale fills"
    unmoved = np.zeros(result.prices.shape, dtype=np.intp)
    same = result.prices[1:] == result.prices[:-1]
    for row in range(1, len(unmoved)):
        unmoved[row] = np.where(same[row - 1], unmoved[row - 1] + 1, 0)
    flows = np.abs(result.books.orders * result.prices[result.fill_rows])
    stale = unmoved[result.fill_rows] >= STALE_RUN - 1
    total = float(flows.sum())
    share = float(flows[stale].sum()) / total if total > 0.0 else 0.0
    seen = f"{share:.1%} of traded notional met a close that was unchanged for {STALE_RUN} sessions"
    if share > STALE_SHARE:
        worst = result.symbols[int(np.where(stale, flows, 0.0).sum(axis=0).argmax())]
        return alarm(
            rule,
            f"{seen}, most of it in {worst}.",
            "A price that does not move is often a price nobody traded at: find out whether "
            "the feed was filled forward, and drop the name for those sessions.",
        )
    return fine(rule, f"{seen}.")


def late_fills(result: Backtest, *, cost_rate: float, invested: float) -> Finding:
    """Judge what one session of delay would take of the excess return."""
    rule = "late fills"
    excess = float(result.excess.mean()) * SESSIONS_PER_YEAR
    if excess <= 0.0 or len(result.fill_rows) < 2:
        return fine(rule, "There is no excess return to lose by delay.")
    late = _delayed(result, cost_rate=cost_rate, invested=invested)
    base = result.benchmark[1:]
    left = float((late - base).mean()) * SESSIONS_PER_YEAR
    seen = f"One session later the yearly excess is {left:.2%} instead of {excess:.2%}"
    if left < (1.0 - LOST_BY_DELAY) * excess:
        return alarm(
            rule,
            f"{seen}.",
            "The gain sits in the first session after the decision: look for a feature that "
            "is known later than it claims, or for a bounce between bid and ask.",
        )
    return fine(rule, f"{seen}.")


def few_days(result: Backtest) -> Finding:
    """Judge how many of the best days must be missed to lose all of the excess return."""
    rule = "a few days"
    excess = np.log1p(result.net) - np.log1p(result.benchmark)
    total = float(excess.sum())
    days = excess.size
    if total <= 0.0:
        return fine(rule, "There is no excess return to depend on.")
    best = np.sort(excess)[::-1]
    needed = int(np.searchsorted(np.cumsum(best), total)) + 1
    bound = max(FEW_DAYS_AT_LEAST, round(FEW_DAYS * days))
    seen = f"Without its best {needed} of {days} days nothing is left of the excess return"
    if needed <= bound:
        when = ", ".join(str(result.dates[i]) for i in np.argsort(-excess)[: min(needed, 3)])
        return alarm(
            rule,
            f"{seen}; the largest: {when}.",
            "Look at those days one by one: an unadjusted split, a bad print or one event "
            "makes the result. What the rule earned on all other days is what it can repeat.",
        )
    return fine(rule, f"{seen}.")


def too_good(result: Backtest) -> Finding:
    """Judge whether the Sharpe ratio is one that only mistakes produce."""
    rule = "too good"
    ratio = sharpe(result.excess)
    seen = f"Sharpe ratio in excess of the benchmark: {ratio:.2f} a year"
    if ratio > TOO_GOOD:
        return alarm(
            rule,
            f"{seen}, above {TOO_GOOD:g}.",
            "Suspect the future first: check each feature's known_at, the fill's bar, and "
            "prices that were adjusted with later knowledge.",
        )
    return fine(rule, f"{seen}.")


def too_many_parameters(
    result: Backtest, *, parameters: int, configurations: int, charge: Charge | None = None
) -> Finding:
    """Judge how wide is searched, and how often was tried, against the length of the history.

    The luckiest of N worthless configurations is expected to show, over Y years, an annual Sharpe
    ratio of ((1 - gamma) z(1 - 1/N) + gamma z(1 - 1/(N e))) / sqrt(Y). N is what the ledger charges
    the question with, at its upper end, or the declared search space while that is wider.

    Source: Bailey, Borwein, Lopez de Prado & Zhu (2014), "Pseudo-Mathematics and Financial
        Charlatanism", Notices of the AMS 61(5), 458-471, proposition 1 and theorem 2.
    """
    rule = "too many parameters"
    decisions = len(result.decided_at)
    years = len(result.dates) / SESSIONS_PER_YEAR
    tries = configurations if charge is None else max(configurations, charge.at_most)
    luck = luckiest_sharpe(tries) / math.sqrt(years)
    ratio = sharpe(result.excess)
    size = f"{parameters} parameters, {configurations} configurations, {decisions} decisions"
    if charge is not None:
        size = f"{parameters} parameters, {configurations} configurations, {_tried(charge)}, "
        size += f"{decisions} decisions"
    if tries > decisions or parameters > MANY_PARAMETERS:
        return alarm(
            rule,
            f"{size}: luck alone would show a Sharpe ratio of {luck:.2f}.",
            "Fix what theory or convention can fix; let data choose among a few points.",
        )
    seen = f"{size}. Luck alone would show {luck:.2f} in {years:.0f} years, this trial {ratio:.2f}."
    return note(rule, seen, _hurdle_advice(tries, ratio)) if ratio < luck else fine(rule, seen)


def _tried(charge: Charge) -> str:
    """Say how often the question was tried; a range where reads left no trial."""
    least = "" if charge.at_least == charge.at_most else f"{charge.at_least} to "
    return f"{least}{charge.at_most} {'try' if charge.at_most == 1 else 'tries'} on record"


def luckiest_sharpe(configurations: int) -> float:
    """Return the expected maximum of N independent standard normals, 0 for N = 1.

    Source: Bailey et al. (2014), proposition 1.
    """
    if configurations < 2:
        return 0.0
    z = NormalDist().inv_cdf
    return (1.0 - EULER_GAMMA) * z(1.0 - 1.0 / configurations) + EULER_GAMMA * z(
        1.0 - 1.0 / (configurations * math.e)
    )


def _hurdle_advice(configurations: int, ratio: float) -> str:
    """Say how much history a Sharpe ratio needs to stand above luck."""
    if ratio <= 0.0:
        return "There is nothing to defend here: the benchmark did as well or better."
    years = (luckiest_sharpe(configurations) / ratio) ** 2
    return f"Below the hurdle the gates say no; try fewer configurations, or {years:.0f} years."


def capacity(
    result: Backtest, *, cost_rate: float, capital: float, daily_notional: Array | None
) -> Finding:
    """Judge what higher costs and the strategy's own impact leave of the excess return."""
    rule = "capacity"
    even = break_even_cost(result)
    seen = f"The excess ends at costs of {1e4 * even:.0f} bp; {1e4 * cost_rate:g} bp are charged"
    if even == 0.0:
        return note(
            rule,
            "There is no excess return even before costs.",
            "Nothing is left for costs to take; the idea, not its execution, needs work.",
        )
    if even < BREAK_EVEN * cost_rate:
        return alarm(
            rule,
            f"{seen}.",
            "Trade less: a slower schedule, a band around the held weights, fewer switches.",
        )
    if daily_notional is None:
        return note(
            rule,
            f"{seen}; no traded volume is known, so impact was not judged.",
            "Pass daily_notional (quote currency that trades in each symbol a day).",
        )
    most = capital_at_half(result, daily_notional)
    said = f"{seen}; at a capital of {most:,.0f} impact takes half of the excess"
    if most < capital:
        return alarm(
            rule,
            f"{said}, and {capital:,.0f} is meant to be run.",
            "Run less, spread orders over sessions, or leave out the thin names.",
        )
    return fine(rule, f"{said}.")


def break_even_cost(result: Backtest) -> float:
    """Return the cost rate at which the summed excess return is zero, in [0, 1].

    Strategy and benchmark pay the same rate, so only turnover beyond the benchmark's counts.
    """
    extra = float(result.turnover.sum() - result.benchmark_books.turnover.sum())
    before = float((result.gross - result.benchmark_books.gross).sum())
    if before <= 0.0:
        return 0.0
    return 1.0 if extra <= 0.0 else min(1.0, before / extra)


def capital_at_half(result: Backtest, daily_notional: Array) -> float:
    """Return the capital at which square-root impact takes half of the excess return.

    Impact grows with the root of capital, so its yearly cost is `unit * sqrt(capital)`.
    """
    excess = float(result.excess.sum())
    if excess <= 0.0:
        return 0.0
    equity = result.books.equity[1:][result.fill_rows]
    flows = np.abs(result.books.orders * result.prices[result.fill_rows]) / equity[:, None]
    sigma = np.std(np.diff(np.log(result.prices), axis=0), axis=0)
    part = flows / np.asarray(daily_notional, np.float64)  # of a day's volume, per unit of capital
    unit = float((flows * square_root_impact(part, np.broadcast_to(sigma, part.shape))).sum())
    return math.inf if unit == 0.0 else (0.5 * excess / unit) ** 2


def overdrawn(result: Backtest) -> Finding:
    """Judge how far cash was overdrawn, which earns and costs nothing here."""
    rule = "overdrawn cash"
    share = result.books.cash / result.books.equity[1:][result.fill_rows]
    low = float(share.min())
    seen = f"Lowest cash after a fill: {low:.1%} of equity"
    if low < OVERDRAWN:
        day = result.dates[int(result.fill_rows[int(share.argmin())])]
        return alarm(
            rule,
            f"{seen}, on {day}.",
            "That is borrowed money without interest: lower `invested`, or keep the gross "
            "weight below one.",
        )
    return fine(rule, f"{seen}.")


def survivors(known: bool) -> Finding:
    """Say when the universe was drawn up with knowledge of who survived."""
    rule = "survivors"
    if known:
        return note(
            rule,
            "The universe is a list of survivors: names that failed are not in it.",
            "Believe differences to the equal-weighted universe only, never levels; "
            "confirm on a universe as it stood at each date.",
        )
    return fine(rule, "The universe is as it stood at each date.")


def _longest_run(mask: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> tuple[int, int]:
    """Return length and last index of the longest run of True; (0, -1) if there is none."""
    best, last, run = 0, -1, 0
    for index, flag in enumerate(mask.tolist()):
        run = run + 1 if flag else 0
        if run > best:
            best, last = run, index
    return best, last


def _delayed(result: Backtest, *, cost_rate: float, invested: float) -> Array:
    """Return net returns of the same weights decided and filled one session later, shape (T - 1,).

    A portfolio that this ruins lost everything on its first day.
    """
    rows = result.fill_rows[result.fill_rows + 1 < len(result.prices)]
    sizing = SizingPolicy(invested=invested, cost_rate=cost_rate)
    try:
        return keep_books(result.prices, rows, lambda i, _: result.weights[i], sizing).net
    except StrategyInvalid:
        ruined = np.zeros(len(result.prices) - 1)
        ruined[0] = -1.0
        return ruined
