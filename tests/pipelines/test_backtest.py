"""The backtest: no look-ahead, exact books, the same equity as a naive loop and as vectorbt."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import HistoryMissing
from featurestore.universes import US_LARGE_CAPS
from pipelines.backtest import Backtest, backtest
from pipelines.compile import compile_strategy
from pipelines.errors import CrossCheckFailed, StudyInvalid
from pipelines.panel import Panel
from pipelines.strategy import Strategy
from pipelines.study import Study
from pipelines.vectorbt_check import cross_check
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import CurrentWeights, Latest, Window, gather
from tests.fakes.array_reader import ArrayReader, random_reader
from tests.fakes.studies import FEATURE, momentum, small_study

SYMBOLS = US_LARGE_CAPS.symbols


@pytest.fixture(scope="module")
def reader() -> ArrayReader:
    return random_reader(SYMBOLS, date(2000, 1, 3), date(2003, 12, 31), seed=7, feature=FEATURE)


def run(strategy: Strategy, reader: ArrayReader, study: Study) -> Backtest:
    session = DecisionSession(compile_strategy(strategy, len(SYMBOLS)))
    return backtest(session, strategy.inputs, reader, study, study.research)


@pytest.fixture(scope="module")
def result(reader: ArrayReader) -> Backtest:
    return run(momentum(21, 3), reader, small_study())


def naive_equity(reader: ArrayReader, study: Study, lookback: int, top: int) -> list[float]:
    """Day by day, symbol by symbol, in plain Python: holdings and pending orders in dicts."""
    days = [s for s in reader.sessions if study.research.start <= s.day <= study.research.end]
    price = {(s.day, name): reader.values[r, c] for r, s in enumerate(reader.sessions)
             for c, name in enumerate(reader.symbols)}  # fmt: skip
    every = [s.day for s in reader.sessions]
    cash, held, pending, equity = 1_000_000.0, dict.fromkeys(SYMBOLS, 0.0), None, []
    for k, session in enumerate(days):
        day = session.day
        if pending is not None:
            for name, wanted in pending.items():
                change = wanted - held[name]
                cash -= change * price[day, name] + study.costs * abs(change) * price[day, name]
                held[name] = wanted
            pending = None
        worth = cash + sum(held[name] * price[day, name] for name in SYMBOLS)
        equity.append(worth)
        if k + 1 < len(days) and days[k + 1].day.month != day.month:
            then = every[every.index(day) - lookback]
            growth = {name: price[day, name] / price[then, name] for name in SYMBOLS}
            best = sorted(SYMBOLS, key=lambda name: -growth[name])[:top]
            pending = {
                name: (1 / top * study.invested * worth / price[day, name] if name in best else 0.0)
                for name in SYMBOLS
            }
    return equity


@pytest.mark.parametrize(("lookback", "top"), [(21, 3), (63, 5)])
def test_equity_equals_a_naive_loop_in_plain_python(reader, lookback, top):
    study = small_study()
    ours = run(momentum(lookback, top), reader, study)
    naive = naive_equity(reader, study, lookback, top)[-len(ours.dates) :]
    np.testing.assert_allclose(ours.books.equity[1:], naive, rtol=1e-12)


def test_vectorbt_agrees_on_equity_at_every_close(result):
    check = cross_check(result, small_study().costs)
    assert check.worst <= 1e-9
    assert check.orders == np.count_nonzero(result.books.orders)


def test_vectorbt_disagrees_when_a_cost_is_forgotten(result):
    with pytest.raises(CrossCheckFailed, match="differs by"):
        cross_check(result, 0.0)


def test_every_decision_saw_exactly_what_the_runtime_would_gather(reader, result):
    strategy, study = momentum(21, 3), small_study()
    panel = Panel(reader, study, study.research)
    session = DecisionSession(compile_strategy(strategy, len(SYMBOLS)))
    for i, at in enumerate(result.decided_at):
        seen = gather(reader, strategy.inputs, SYMBOLS, at=at, current=result.current[i])
        decided = session.run(seen)
        assert decided.score.tobytes() == result.scores[i].tobytes()
        assert decided.weight.tobytes() == result.weights[i].tobytes()
        bulk = {name: values[i] for name, values in panel.bulk(strategy.inputs).items()}
        assert {n: v.tobytes() for n, v in bulk.items()} == {
            n: v.tobytes() for n, v in seen.items()
        }


@given(data=st.data())
def test_a_bar_changed_after_a_decision_never_changes_it(reader, result, data):
    decision = data.draw(st.integers(0, len(result.decided_at) - 1), label="decision")
    at = result.decided_at[decision]
    later = [row for row, session in enumerate(reader.sessions) if session.close > at]
    row = data.draw(st.sampled_from(later), label="changed row")
    values = reader.values.copy()
    values[row] *= data.draw(st.floats(0.5, 2.0), label="factor")
    strategy = momentum(21, 3)
    changed = run(strategy, reader.with_values(values), small_study())
    assert changed.scores[: decision + 1].tobytes() == result.scores[: decision + 1].tobytes()
    assert changed.weights[: decision + 1].tobytes() == result.weights[: decision + 1].tobytes()
    assert changed.current[: decision + 1].tobytes() == result.current[: decision + 1].tobytes()
    assert changed.inputs_hash[: decision + 1] == result.inputs_hash[: decision + 1]


def test_a_bar_changed_inside_the_window_does_change_the_decision(reader, result):
    values = reader.values.copy()
    row = next(r for r, s in enumerate(reader.sessions) if s.close == result.decided_at[4])
    values[row, 0] *= 3.0
    changed = run(momentum(21, 3), reader.with_values(values), small_study())
    assert changed.inputs_hash[4] != result.inputs_hash[4]
    assert changed.scores[4, 0] > result.scores[4, 0]


def test_costs_reduce_returns_and_no_costs_make_net_equal_gross(reader):
    free = run(momentum(21, 3), reader, small_study(costs=0.0))
    dear = run(momentum(21, 3), reader, small_study(costs=0.002))
    assert free.net.tobytes() == free.gross.tobytes()
    assert dear.books.equity[-1] < free.books.equity[-1]
    assert (dear.gross >= dear.net).all()
    assert dear.costs == pytest.approx(0.002 * dear.books.traded)


def test_the_first_day_pays_for_entry_and_the_last_decision_is_filled_inside(result):
    study = small_study()
    assert result.decided_at[0].date() == date(2001, 1, 31)
    assert result.dates[0] == date(2001, 2, 1)
    assert result.dates[-1] == study.research.end
    assert result.net[0] == pytest.approx(-study.costs * result.turnover[0])
    assert result.fill_rows.max() < len(result.dates)  # 2002-12-31 decides but cannot be filled
    assert result.decided_at[-1].date() == date(2002, 11, 29)


def test_equal_weights_decided_by_a_graph_earn_exactly_the_benchmark(reader):
    def decide(xp, inputs):
        score = inputs.price
        return score, xp.ones_like(score) / 20.0

    strategy = Strategy(inputs={"price": Latest(feature=FEATURE)}, decide=decide, parameters={})
    equal = run(strategy, reader, small_study())
    assert equal.excess.tobytes() == np.zeros(len(equal.dates)).tobytes()


def test_current_weights_are_the_drifted_ones(reader):
    def decide(xp, inputs):
        started = xp.sum(inputs.current) > 0.5
        equal = xp.ones_like(inputs.current) / 20.0
        return inputs.current, xp.where(started, inputs.current, equal)

    strategy = Strategy(inputs={"current": CurrentWeights()}, decide=decide, parameters={})
    held = run(strategy, reader, small_study(invested=1.0, costs=0.0))
    assert not held.current[0].any()
    np.testing.assert_allclose(held.turnover[1:], 0.0, atol=1e-12)  # buy and hold
    row = held.fill_rows[7] - 1  # the close of decision 7
    grown = held.books.orders[0] * held.prices[row]
    np.testing.assert_allclose(held.current[7], grown / (held.books.equity[row + 1]), rtol=1e-12)
    assert (held.current[7] != held.current[1]).all()


def test_all_trials_share_their_dates_whatever_their_window(reader):
    study = small_study()
    short, long = run(momentum(21, 3), reader, study), run(momentum(63, 3), reader, study)
    assert short.dates == long.dates
    assert short.benchmark.tobytes() == long.benchmark.tobytes()


def test_a_window_beyond_the_warm_up_is_refused(reader):
    with pytest.raises(StudyInvalid, match="reads 64 bars, study small declares a warm-up of 30"):
        run(momentum(63, 3), reader, small_study(warm_up=30))


def test_too_little_history_before_the_first_decision_names_the_remedy(reader):
    with pytest.raises(HistoryMissing, match="start the period later"):
        run(momentum(21, 3), reader, small_study(warm_up=600))


def test_a_repeated_backtest_is_equal_to_the_bit(reader, result):
    again = run(momentum(21, 3), reader, small_study())
    assert again.net.tobytes() == result.net.tobytes()
    assert again.inputs_hash == result.inputs_hash


def test_trials_that_share_a_panel_read_each_window_once(reader):
    study = small_study()
    panel = Panel(reader, study, study.research)
    calls = []

    class Counting(ArrayReader):
        def windows(self, feature, symbols, *, length, at):
            calls.append(length)
            return super().windows(feature, symbols, length=length, at=at)

    panel._reader = Counting(**vars(reader))
    strategy = momentum(21, 3)
    session = DecisionSession(compile_strategy(strategy, len(SYMBOLS)))
    for _ in range(3):
        backtest(session, strategy.inputs, reader, study, study.research, panel=panel)
    assert calls == [22]


def test_window_and_latest_digests_tell_inputs_apart(reader):
    panel = Panel(reader, small_study(), small_study().research)
    current = np.zeros(20)
    one = {"a": Window(feature=FEATURE, length=1)}
    other = {"b": Window(feature=FEATURE, length=1)}
    assert panel.digest(one, 0, current) != panel.digest(other, 0, current)
    assert panel.digest(one, 0, current) != panel.digest(one, 1, current)
    held = {"a": CurrentWeights()}
    assert panel.digest(held, 0, current) != panel.digest(held, 0, current + 1e-16)
