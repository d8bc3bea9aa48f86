"""No formula changes without a new edition: each one's value on fixed walks is pinned."""

from datetime import date

import numpy as np
import pytest

from featurestore.features import library as f
from featurestore.features.declaration import Windows
from featurestore.times import micros
from tests.featurestore.series import CLOSE, XNYS


def library_on_seeded_walks():
    """Every formula with its defaults on fixed random walks: the first symbol's value."""
    random = np.random.default_rng(5)
    sessions = XNYS.sessions(date(2000, 1, 3), date(2006, 12, 29))
    closes = np.array([micros(session.close) for session in sessions])
    seen = {}
    for name in sorted(f.LIBRARY):
        kind = f.LIBRARY[name]
        feature = kind(*[CLOSE] * len(kind.inputs))
        steps = random.normal(0, 0.01, (len(kind.inputs), 1, 3, feature.length))
        walks = 100 * np.exp(np.cumsum(steps, axis=3))
        if "high" in kind.inputs:  # bars: the other prices lie between high and low
            walks = np.sort(walks, axis=0)
            middle = [name for name in kind.inputs if name not in ("high", "low")]
            order = {name: place for place, name in enumerate(("low", *middle, "high"))}
            walks = walks[[order[name] for name in kind.inputs]]
        x = Windows(
            values=tuple(walks),
            closes=closes[None, -feature.length :],
        )
        seen[name, kind.edition] = float(kind.formula(x, **feature.given)[0, 0])
    return seen


def test_no_formula_changes_without_a_new_edition():
    """Where this fails on purpose: raise the edition of the formula, then pin its new value."""
    seen = library_on_seeded_walks()
    assert set(seen) == set(PINNED)
    for key, value in seen.items():
        assert value == pytest.approx(PINNED[key], rel=1e-12), key


PINNED = {
    ("amihud", 1): 0.8809605461794227,
    ("atr", 1): 17.842513346715343,
    ("beta", 1): 0.11115041638620325,
    ("correlation", 1): -0.009021015584969276,
    ("cross_zscore", 1): -0.6308888607908998,
    ("deepest_drawdown", 1): -0.15012805015258912,
    ("drawdown", 1): -0.07108216584080251,
    ("ema", 1): 123.12732278578409,
    ("ewma_volatility", 1): 0.17747743148566145,
    ("exposure", 1): -0.0030460975024742,
    ("garman_klass", 1): 1.9007607653496352,
    ("growth", 1): -0.003765470182905739,
    ("log_return", 1): -0.014349414324337055,
    ("macd", 1): 0.04486164031142903,
    ("macd_histogram", 1): -0.12590424298676803,
    ("momentum", 1): -0.10922618182500965,
    ("parkinson", 1): 0.7168493396741238,
    ("rank", 1): 0.0,
    ("residual", 1): 0.013475331576420585,
    ("residual_volatility", 1): 0.17001877515124575,
    ("rsi", 1): 68.81942205458826,
    ("seasonality", 1): 0.0011937574985987798,
    ("simple_return", 1): -0.014620433469205163,
    ("sma", 1): 99.65609750279256,
    ("surprise", 1): -0.2553633931655192,
    ("term_spread", 1): -0.6082168694505299,
    ("traded_value", 1): 9758.76325746891,
    ("turnover", 1): 1.0238539263543358,
    ("volatility", 1): 0.17582619080531633,
    ("zscore", 1): -1.6077173115099443,
}
