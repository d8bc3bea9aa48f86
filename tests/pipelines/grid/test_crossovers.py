"""The compiled sweep: equal to vectorbt and to a plain loop, and every column a trial."""

from datetime import UTC, datetime

import numpy as np
import pytest

from pipelines.errors import EvaluationUnrecorded, StrategyInvalid, StudyInvalid
from pipelines.grid import crossovers, submit_crossovers, window_pairs
from pipelines.workspace import Workspace
from runtime.clock import ReplayClock
from tests.fakes.studies import small_study


def walks(days=400, names=3, seed=1):
    steps = np.random.default_rng(seed).normal(0.0004, 0.02, (days, names))
    return 30.0 * np.exp(np.cumsum(steps, axis=0))


def plain(prices, fast, slow, fee, delay):
    """One pair on one name, bar by bar, as a person would write it."""
    cash, shares, seen_below, values = 1.0, 0.0, False, []
    for t in range(len(prices)):
        s = t - delay
        if s + 1 >= slow:
            quick = sum(prices[s + 1 - fast : s + 1]) / fast
            steady = sum(prices[s + 1 - slow : s + 1]) / slow
            if quick > steady and seen_below and shares == 0.0:
                shares, cash = cash / (prices[t] * (1 + fee)), 0.0
            elif quick < steady:
                seen_below = True
                if shares:
                    cash, shares = shares * prices[t] * (1 - fee), 0.0
        values.append(cash + shares * prices[t])
    return values


def test_ninety_nine_windows_make_4851_pairs():
    assert len(window_pairs(range(2, 101))) == 4851


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_every_column_is_what_a_plain_loop_gives(delay):
    prices = walks(160)
    pairs = window_pairs((2, 5, 13, 34))
    sweep = crossovers(prices, pairs, fee=0.002, delay=delay)
    for p, (fast, slow) in enumerate(pairs):
        columns = [plain(prices[:, i].tolist(), fast, slow, 0.002, delay) for i in range(3)]
        np.testing.assert_allclose(
            sweep.total_return[p], [c[-1] - 1.0 for c in columns], atol=1e-12
        )
        value = np.mean(columns, axis=0)
        np.testing.assert_allclose(sweep.returns()[p], value[1:] / value[:-1] - 1.0, atol=1e-12)


def test_equal_to_vectorbt_on_every_column():
    """vectorbt's own averages, crossings and accounting, as on its front page."""
    import pandas as pd
    import vectorbt as vbt

    prices = walks(600, 2)
    windows = range(2, 22)
    close = pd.DataFrame(prices, index=pd.bdate_range("2001-01-01", periods=600))
    fast, slow = vbt.MA.run_combs(close, window=list(windows), r=2, short_names=["fast", "slow"])
    book = vbt.Portfolio.from_signals(
        close,
        fast.ma_crossed_above(slow),
        fast.ma_crossed_below(slow),
        size=np.inf,
        fees=0.001,
        freq="1D",
    )
    theirs = book.total_return().to_numpy().reshape(-1, 2)
    sweep = crossovers(prices, window_pairs(windows), fee=0.001, delay=0)
    np.testing.assert_allclose(sweep.total_return, theirs, atol=1e-9)
    assert sweep.orders == book.orders.count().sum()


def test_a_day_of_delay_is_paid_for_where_prices_turn():
    saw = 100.0 + 10.0 * np.sin(np.arange(300) / 4.0)
    now = crossovers(saw, [(2, 6)], fee=0.0, delay=0).total_return[0, 0]
    later = crossovers(saw, [(2, 6)], fee=0.0, delay=1).total_return[0, 0]
    assert later < now


def test_fees_only_ever_take():
    prices = walks()
    pairs = window_pairs((3, 8, 21))
    totals = [crossovers(prices, pairs, fee=f).total_return for f in (0.0, 0.001, 0.01)]
    assert (totals[0] >= totals[1]).all()
    assert (totals[1] >= totals[2]).all()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"pairs": [(5, 5)]}, "longer slow one"),
        ({"pairs": []}, "longer slow one"),
        ({"prices": np.array([1.0, 0.0, 2.0])}, "positive"),
        ({"fee": 1.0}, "fee"),
        ({"delay": 900}, "delay"),
    ],
)
def test_nonsense_is_refused(arguments, word):
    given = {"prices": walks(), "pairs": [(2, 5)]} | arguments
    with pytest.raises(StrategyInvalid, match=word):
        crossovers(**given)


@pytest.fixture
def workspace(tmp_path, market_lake):
    return Workspace(
        tmp_path,
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
        clock=ReplayClock(datetime(2024, 5, 1, tzinfo=UTC)),
    )


def crossing_study(**changes):
    windows = tuple(range(2, 13))
    space = {"fast": windows, "slow": windows}
    return small_study(**{"name": "crossing", "search_space": space} | changes)


def test_every_column_is_a_trial_with_its_returns(workspace):
    pairs = window_pairs(range(2, 13))
    grid = submit_crossovers(crossing_study(), pairs, workspace=workspace)
    ledger = workspace.ledger()
    record = ledger.study("crossing")
    assert (record.trials, record.by_status) == (55, {"complete": 55})
    ledger.verify()
    evidence = ledger.evidence("crossing")
    order = [grid.keys.index(name) for name in evidence.names]
    assert (evidence.net == grid.sweep.returns()[order].T).all()
    assert (evidence.benchmark == grid.benchmark).all()
    submit_crossovers(crossing_study(), pairs, workspace=workspace)
    assert ledger.study("crossing").trials == 55, "the same columns again are the same trials"


def test_columns_that_nobody_recorded_are_refused_where_a_person_looks_on(workspace, monkeypatch):
    monkeypatch.setattr("pipelines.door.in_kernel", lambda: True)
    with pytest.raises(EvaluationUnrecorded, match=r"crossovers was called in a kernel"):
        crossovers(np.linspace(10.0, 20.0, 50), [(2, 5)])
    assert len(submit_crossovers(crossing_study(), [(2, 5)], workspace=workspace).keys) == 1


def test_another_delay_is_another_trial(workspace):
    submit_crossovers(crossing_study(), [(2, 5)], workspace=workspace)
    submit_crossovers(crossing_study(), [(2, 5)], workspace=workspace, delay=2)
    assert workspace.ledger().study("crossing").trials == 2


@pytest.mark.parametrize("dressed", [{"delay": 2}, {"symbols": ("KO", "GE")}])
def test_another_delay_or_other_names_under_another_study_are_the_same_question(workspace, dressed):
    submit_crossovers(crossing_study(), window_pairs(range(2, 8)), workspace=workspace)
    submit_crossovers(crossing_study(name="anew"), [(2, 5)], workspace=workspace, **dressed)
    charge = workspace.ledger().charge("anew")
    assert charge.studies == ("anew", "crossing")
    assert charge.at_least == 16


def test_other_names_are_other_trials_and_strangers_are_refused(workspace):
    pair = [(2, 5)]
    whole = submit_crossovers(crossing_study(), pair, workspace=workspace)
    some = submit_crossovers(crossing_study(), pair, workspace=workspace, symbols=("KO", "GE"))
    assert whole.keys != some.keys
    assert len(some.sweep.prices) == 2
    with pytest.raises(StudyInvalid, match="ZZZ"):
        submit_crossovers(crossing_study(), pair, workspace=workspace, symbols=("ZZZ",))
    assert workspace.ledger().study("crossing").trials == 2


def test_a_sweep_that_dies_leaves_its_columns_counted(workspace, monkeypatch):
    def broken(*_, **__):
        raise MemoryError

    monkeypatch.setattr("pipelines.grid.record.crossovers", broken)
    with pytest.raises(MemoryError):
        submit_crossovers(crossing_study(), window_pairs(range(2, 8)), workspace=workspace)
    assert workspace.ledger().study("crossing").by_status == {"crashed": 15}


def test_pairs_outside_the_declared_space_are_refused_and_not_recorded(workspace):
    with pytest.raises(StudyInvalid, match=r"\(2, 50\)"):
        submit_crossovers(crossing_study(), [(2, 5), (2, 50)], workspace=workspace)
    with pytest.raises(StudyInvalid, match="declares"):
        submit_crossovers(small_study(), [(2, 5)], workspace=workspace)
