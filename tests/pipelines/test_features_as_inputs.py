"""A strategy declares computed features: backtest, runtime, gates, manifest see the same bits."""

from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest

from featurestore.errors import ViewUnknown
from featurestore.features import library as f
from featurestore.features.serving import contract_hash, view_names
from featurestore.sources.embedded import US_EQUITIES, US_INDEX
from featurestore.universes import US_LARGE_CAPS
from pipelines.backtest import backtest
from pipelines.compile import compile_strategy, decide_with_numpy
from pipelines.definition import load_definition
from pipelines.errors import StudyInvalid
from pipelines.gates.integrity import integrity_verdicts
from pipelines.gates.policy import default_policy
from pipelines.panel import Panel
from pipelines.promote import _declared_inputs
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import Latest, gather
from tests.fakes.notebooks import STUDY, tiny_notebook

CLOSE = "us_equities.close"
SYMBOLS = US_LARGE_CAPS.symbols
CELL = """from featurestore.features.library import momentum, rank, volatility


def decide(xp, inputs):
    held = xp.astype(inputs.strength > 1.0 - top / 20, xp.float64) / inputs.risk
    return inputs.strength, held / xp.sum(held)


strategy = Strategy(
    inputs={
        "strength": rank(momentum("us_equities.close", lookback=lookback, skip=0)),
        "risk": volatility("us_equities.close", bars=21),
    },
    decide=decide,
    parameters={"lookback": lookback, "top": top},
)
"""


@pytest.fixture(scope="module")
def definition(tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "tiny.ipynb"
    return load_definition(tiny_notebook(path, strategy=CELL), {"lookback": 63, "top": 5})


@pytest.fixture(scope="module")
def session(definition):
    return DecisionSession(compile_strategy(definition.strategy, 20))


@pytest.fixture(scope="module")
def result(definition, session, market):
    study = definition.study
    return backtest(session, definition.strategy.inputs, market, study, study.research)


def test_a_feature_is_an_input_of_one_value_per_symbol(definition):
    strategy = definition.strategy
    assert strategy.inputs["risk"] == Latest(
        feature="volatility(us_equities.close, bars=21, per_year=252)"
    )
    assert strategy.longest_window == 64


def test_backtest_and_runtime_gather_the_same_bits(definition, result, market):
    inputs, study = definition.strategy.inputs, definition.study
    bulk = Panel(market, study, study.research).bulk(inputs)
    assert len(result.decided_at) == 23
    for i, at in enumerate(result.decided_at):
        seen = gather(market, inputs, SYMBOLS, at=at, current=result.current[i])
        assert {name: values.shape for name, values in seen.items()} == {
            "strength": (20,),
            "risk": (20,),
        }
        for name, values in seen.items():
            assert values.tobytes() == bulk[name][i].tobytes()


def test_the_names_held_are_those_the_feature_ranks_highest(result, market):
    at = result.decided_at[5]
    past = market.window(CLOSE, SYMBOLS, length=64, at=at)
    best = set(np.argsort(past[:, -1] / past[:, 0])[-5:])
    assert set(np.flatnonzero(result.weights[5])) == best


def test_look_ahead_and_parity_gates_cover_features(definition, session, result, market):
    strategy = definition.strategy
    lookahead, parity = integrity_verdicts(
        result,
        strategy.inputs,
        session,
        market,
        rebuild=lambda past: (strategy.inputs, session),
        twin=lambda gathered: decide_with_numpy(strategy, gathered),
        policy=default_policy(),
    )
    assert lookahead.passed, lookahead.reason
    assert parity.passed, parity.reason


def test_a_feature_longer_than_the_warm_up_is_refused(tmp_path, market):
    cell = CELL.replace("bars=21", "bars=64")
    definition = load_definition(tiny_notebook(tmp_path / "tiny.ipynb", strategy=cell), {})
    study = definition.study
    with pytest.raises(StudyInvalid, match="input risk reads 65 bars"):
        Panel(market, study, study.research).bulk(definition.strategy.inputs)


def test_a_feature_of_an_index_needs_no_symbol_of_its_own(market, tmp_path):
    cell = CELL.replace("import momentum", "import beta, momentum").replace(
        'volatility("us_equities.close", bars=21)',
        'beta("us_equities.close", "us_index.close[SP500]", bars=21)',
    )
    study = STUDY.replace("date(2001, 1, 2)", "date(2002, 6, 3)")
    path = tiny_notebook(tmp_path / "tiny.ipynb", strategy=cell, study=study)
    inputs = load_definition(path, {}).strategy.inputs
    at = market.latest(CLOSE, ["KO"], at=result_day()).event_times[0]
    seen = gather(market, inputs, SYMBOLS, at=at, current=np.zeros(20))
    assert seen["risk"].shape == (20,)


def result_day():
    from featurestore.calendars import load_calendar

    return load_calendar("XNYS").session(date(2002, 8, 30)).close


def test_the_manifest_pins_formula_and_views(definition, market_lake):
    workspace = SimpleNamespace(store=lambda: market_lake.store)
    declared = {each.name: each for each in _declared_inputs(definition, workspace)}
    views = {"us_equities": US_EQUITIES, "us_index": US_INDEX}
    risk = declared["risk"]
    assert risk.view_hash == contract_hash(risk.source.feature, views.__getitem__)
    assert risk.view_hash != US_EQUITIES.version_hash
    assert contract_hash(CLOSE, views.__getitem__) == US_EQUITIES.version_hash
    beta = f.beta(CLOSE, "us_index.close[SP500]").name
    assert view_names(beta) == ("us_equities", "us_index")
    other = {**views, "us_index": US_EQUITIES}
    assert contract_hash(beta, views.__getitem__) != contract_hash(beta, other.__getitem__)


def test_an_unknown_formula_is_named_before_anything_runs(tmp_path):
    cell = CELL.replace(
        'volatility("us_equities.close", bars=21)', 'Latest(feature="voodoo(us_equities.close)")'
    )
    cell = "from pipelines.research import Latest\n" + cell
    definition = load_definition(tiny_notebook(tmp_path / "tiny.ipynb", strategy=cell), {})
    with pytest.raises(ViewUnknown, match="no formula 'voodoo'"):
        _ = definition.strategy.longest_window
