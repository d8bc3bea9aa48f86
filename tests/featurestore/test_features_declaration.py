"""A feature's name is its declaration: read back, hashed, and refused in words where wrong."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import ContractBroken, ViewUnknown
from featurestore.features import library as f
from featurestore.features.declaration import LIBRARY, Source, feature
from featurestore.features.expression import bars_of, parse_feature, parse_input, sources_of
from featurestore.features.windows import ema_bars, wilder_bars

CLOSE = "us_equities.close"
SOURCES = st.sampled_from(
    ["us_equities.close", "us_index.close[SP500]", "raw.close@actions", "rates.yield[DGS10]"]
)


@given(data=st.data())
def test_any_declared_feature_is_read_back_from_its_name(data):
    def drawn(depth):
        kind = LIBRARY[data.draw(st.sampled_from(sorted(LIBRARY)))]
        inputs = [
            drawn(depth - 1) if depth and data.draw(st.booleans()) else data.draw(SOURCES)
            for _ in kind.inputs
        ]
        parameters = {
            name: int(kind.least.get(name, 0)) + data.draw(st.integers(0, 300))
            for name in kind.defaults
        }
        return kind(*inputs, **parameters)

    declared = drawn(2)
    again = parse_feature(declared.name)
    assert again == declared
    assert again.version_hash == declared.version_hash
    assert again.required >= again.length


def test_a_name_is_read_however_it_is_spaced_and_gets_its_defaults():
    found = parse_feature(" momentum( us_equities.close,skip=0 )")
    assert found == f.momentum(CLOSE, skip=0)
    assert found.name == "momentum(us_equities.close, lookback=252, skip=0)"


def test_required_bars_follow_from_the_parameters():
    assert f.momentum(CLOSE, lookback=252, skip=21).required == 274
    assert f.volatility(CLOSE, bars=63).required == 64
    assert f.exposure(CLOSE, CLOSE, CLOSE, bars=200, lag=9).required == 210
    assert f.zscore(f.volatility(CLOSE, bars=21), bars=126).required == 126 + 22 - 1
    assert f.rsi(CLOSE, period=14).required == 1 + wilder_bars(14)
    assert f.ema(CLOSE, span=20).required == ema_bars(20) == 139
    assert (1 - 2 / 21) ** 139 < 1e-6 < (1 - 2 / 21) ** 138
    assert bars_of("momentum(us_equities.close, lookback=10, skip=0)", 5) == 15
    assert bars_of(CLOSE, 5) == 5


def test_the_hash_pins_formula_parameters_window_and_edition(monkeypatch):
    hashes = {
        f.momentum(CLOSE).version_hash,
        f.momentum(CLOSE, skip=0).version_hash,
        f.momentum("us_index.close").version_hash,
        f.simple_return(CLOSE).version_hash,
        f.rank(f.momentum(CLOSE)).version_hash,
    }
    assert len(hashes) == 5
    before = f.rank(f.momentum(CLOSE)).version_hash
    object.__setattr__(f.momentum, "edition", 2)
    try:
        assert f.rank(f.momentum(CLOSE)).version_hash != before
    finally:
        object.__setattr__(f.momentum, "edition", 1)


def test_sources_say_what_is_read():
    assert sources_of(CLOSE) == (Source(CLOSE),)
    wanted = (Source(CLOSE), Source("us_index.close", "SP500"), Source("wti.price", "WTI"))
    name = f.rank(f.exposure(CLOSE, "us_index.close[SP500]", "wti.price[WTI]")).name
    assert sources_of(name) == wanted
    assert parse_input("raw.close@actions") == Source("raw.close", None, "actions")


WRONG = {
    "momentum(us_equities.close": "cannot be read",
    "momentum": "cannot be read at 'momentum'",
    "voodoo(us_equities.close)": "no formula 'voodoo'.*there are: amihud, atr",
    "momentum(us_equities.close, 252)": "cannot be read at '252'",
    "momentum(us_equities.close, lookback='a')": "'a'\" is not a number|is not a number",
    "momentum(us_equities.close, **{})": "every parameter has a name|cannot be read",
    "__import__('os').system('true')": "cannot be read",
    "momentum(us_equities.close).real": "cannot be read",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_not_a_feature_is_refused_with_the_form(text):
    with pytest.raises(ViewUnknown, match=WRONG[text]):
        parse_feature(text)


REFUSED = {
    "momentum has no parameter 'window'; it has: lookback, skip": lambda: f.momentum(
        CLOSE, window=3
    ),
    "momentum: lookback must be at least 1, was 0": lambda: f.momentum(CLOSE, lookback=0),
    "momentum: lookback must be a whole number, was 2.5": lambda: f.momentum(CLOSE, lookback=2.5),
    "momentum: skip must be at least 0, was -1": lambda: f.momentum(CLOSE, skip=-1),
    "volatility: bars must be at least 2, was 1": lambda: f.volatility(CLOSE, bars=1),
    "beta takes 2 input.s. .prices, index., was given 1": lambda: f.beta(CLOSE),
    "only prices of a view can be adjusted": lambda: parse_input("sma(a.b)@actions"),
    "entity '500' must be": lambda: Source(CLOSE, "500"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_wrong_parameter_is_refused_in_one_sentence(message):
    with pytest.raises(ContractBroken, match=message):
        REFUSED[message]()


def test_a_plain_source_is_no_computed_feature():
    with pytest.raises(ViewUnknown, match="is a source, not a computed feature"):
        parse_feature(CLOSE)


def test_two_formulas_cannot_share_a_name():
    with pytest.raises(ContractBroken, match="has a formula momentum already"):

        @feature("prices", bars=1, unit="none")
        def momentum(x):
            """Another one."""
            return x.values[0][..., 0]


def test_help_shows_inputs_defaults_formula_and_source():
    assert str(inspect.signature(f.momentum)) == "(prices, /, *, lookback=252, skip=21)"
    assert "ended `skip` bars ago" in inspect.getdoc(f.momentum)
    assert f.momentum.told("Formula") == "P[t-skip] / P[t-skip-lookback] - 1"
    assert f.momentum.told("Source").startswith("Jegadeesh & Titman (1993)")
    assert f.momentum.told("Source").endswith("65-91.")
