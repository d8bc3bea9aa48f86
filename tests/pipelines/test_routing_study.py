"""The router saves money where it can be checked: on venues whose true costs are known."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.routing_study import draw_venues, study, wilson
from runtime.errors import OrderInvalid
from runtime.routing.quality import Costs


@pytest.fixture(scope="module")
def found():
    return study(markets=4, orders=150, teach=400, seed=7)


def test_the_router_saves_slippage_and_finds_the_right_venue(found):
    assert found.saving.value > 0.05
    assert found.saving.low < found.saving.value < found.saving.high
    assert found.right.value > 0.9
    assert found.routed == pytest.approx(found.primary * (1 - found.saving.value))


def test_the_same_seed_tells_the_same_story_and_another_one_does_not():
    again = {seed: study(markets=1, orders=20, teach=20, seed=seed).routed for seed in (1, 2)}
    assert study(markets=1, orders=20, teach=20, seed=1).routed == again[1] != again[2]


def test_a_router_that_learns_nothing_finds_the_right_venue_less_often(found):
    untaught = study(markets=4, orders=20, teach=0, seed=7)
    assert untaught.right.value < found.right.value


def test_where_hidden_costs_are_nothing_learning_changes_little():
    free = study(markets=2, orders=100, teach=100, costs=Costs(miss=0.0, drift=0.0))
    assert free.routed < free.primary + 1


# Wilson (1927) as tabulated in Newcombe (1998), "Two-sided confidence intervals for the single
# proportion", Statistics in Medicine 17, 857-872, table I: 81 of 263 and 15 of 148.
@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"), [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)]
)
def test_intervals_match_published_ones(hits, trials, low, high):
    share = wilson(hits, trials)
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("wrong", [{"venues": 1}, {"orders": 0}, {"markets": 0}])
def test_a_study_of_nothing_is_refused(wrong):
    with pytest.raises(OrderInvalid, match="a study needs"):
        study(**wrong)


def test_the_primary_comes_first_and_shows_the_most():
    market = draw_venues(np.random.default_rng(1), 6)
    assert market[0].name == "primary"
    assert market[0].depth == max(venue.depth for venue in market)
