"""The arithmetic of windows: exact where it says so, the same bits on every processor."""

import math
import os
import subprocess
import sys
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.features.windows import (
    LN2,
    ema_weights,
    halving,
    ln,
    memory,
    shrinking,
    total,
    wilder,
)

POSITIVE = st.floats(min_value=5e-324, max_value=1e308)
NEAR_ONE = st.floats(min_value=0.5, max_value=2.0)


@given(value=st.one_of(POSITIVE, NEAR_ONE))
def test_the_logarithm_is_within_one_unit_in_the_last_place(value):
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(value).ln()
        found = float(ln(np.array([value]))[0])
        assert abs(Decimal(found) - exact) <= Decimal(math.ulp(float(exact)))


def test_the_logarithm_of_what_has_none():
    with np.errstate(all="ignore"):
        found = ln(np.array([0.0, -1.0, np.nan, 1.0]))
    assert found[0] == -np.inf
    assert np.isnan(found[1:3]).all()
    assert found[3] == 0.0


def test_constants_are_the_nearest_doubles():
    with localcontext() as context:
        context.prec = 40
        assert float(Decimal(2).ln()) == LN2
        assert halving(10) == pytest.approx(0.5**0.1, rel=1e-15)
        assert float(Decimal(halving(10)) ** 10) == pytest.approx(0.5, rel=1e-15)


def test_weights_shrink_by_multiplication_and_end_below_a_millionth():
    np.testing.assert_array_equal(shrinking(0.5, 4), [0.125, 0.25, 0.5, 1.0])
    np.testing.assert_array_equal(shrinking(0.3, 1), [1.0])
    assert total(ema_weights(20)) == pytest.approx(1.0, abs=1e-15)
    for decay in (0.0, 0.1, 0.5, 19 / 21, 0.999):
        assert decay ** memory(decay) < 1e-6
        assert decay == 0.0 or decay ** (memory(decay) - 1) >= 1e-6 * (1 - 1e-9)


def test_wilders_average_is_the_loop_of_his_book():
    values = [1.0, 2.0, 6.0, 3.0, 0.0]
    average = (1 + 2 + 6) / 3
    for value in values[3:]:
        average = (average * 2 + value) / 3
    assert wilder(np.array([values]), 3)[0] == average


@given(
    rows=st.integers(1, 9), length=st.integers(1, 300), pick=st.integers(0, 8), seed=st.integers(0)
)
def test_a_sum_depends_on_its_own_row_alone(rows, length, pick, seed):
    values = np.random.default_rng(seed).normal(size=(2, rows, length))
    row = pick % rows
    alone = total(values[1, row].copy())
    assert total(values)[1, row] == alone
    assert total(np.asfortranarray(values))[1, row] == alone
    assert total(values[:, row : row + 1])[1, 0] == alone


DIGEST = """
import hashlib
import numpy as np
from featurestore.features.declaration import LIBRARY, Windows
import featurestore.features.library

random, digest = np.random.default_rng(3), hashlib.sha256()
for name in sorted(LIBRARY):
    kind = LIBRARY[name]
    feature = kind(*["a.b"] * len(kind.inputs))
    steps = 0.98 + 0.04 * random.random((len(kind.inputs), 4, 5, feature.length))
    walks = np.multiply.accumulate(steps, axis=3)
    closes = 86_400_000_000 * np.arange(9_000, 9_000 + feature.length)
    x = Windows(values=tuple(walks), closes=np.tile(closes, (4, 1)))
    with np.errstate(all="ignore"):
        values = kind.formula(x, **feature.given)
    digest.update(np.nan_to_num(values).tobytes())
print(digest.hexdigest())
"""


def test_processors_of_different_years_give_the_same_bits():
    """NumPy is told to leave out every instruction set beyond the oldest one it supports."""
    from numpy._core._multiarray_umath import __cpu_dispatch__

    seen = set()
    for disabled in ("", " ".join(__cpu_dispatch__)):
        environ = {**os.environ, "NPY_DISABLE_CPU_FEATURES": disabled}
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", DIGEST],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(ran.stdout)
    assert len(seen) == 1
