"""The gates keep their word on studies whose worth is known; smaller than `sluice calibrate`."""

import msgspec
import pytest
from scipy.stats import binom
from typer.testing import CliRunner

from pipelines.calibration import (
    calibrate,
    calibrate_selection,
    calibrate_significance,
    simulate_analysts,
)
from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.policy import default_policy
from service.cli import app

POLICY = default_policy()


def test_spa_and_stepwise_reject_worthless_studies_about_once_in_twenty_and_find_skill():
    found = calibrate_significance(160, policy=POLICY, seed=1, days=504)
    assert found.size.holds
    assert found.family.share <= found.family.high
    shares = list(found.power.values())
    assert shares == sorted(shares)
    assert shares[-1] > 0.5 > shares[0]


def test_blocks_much_longer_than_returns_remember_would_reject_too_often():
    """Why the policy's block is automatic: with the root of T, noise is rejected twice as often."""
    long = msgspec.structs.replace(
        POLICY, spa=msgspec.structs.replace(POLICY.spa, mean_block="sqrt")
    )
    found = calibrate_significance(400, policy=long, seed=1, days=504)
    assert found.size.share > found.size.high


def test_overfitting_is_one_half_for_noise_and_none_beside_a_dominant_trial():
    found = calibrate_selection(100, seed=1)
    assert found.noise.holds
    assert found.dominant.holds


def test_worthless_analysts_are_stopped_by_the_ledgers_count_and_not_by_their_own():
    found = simulate_analysts(150, policy=POLICY, seed=1, days=378)
    assert found.staging.share <= found.staging.high
    assert found.production.share <= 0.05
    assert found.production.hits <= 1 < found.staging.hits, (
        "the deflated ratio stops the lucky ones"
    )
    assert found.staging_self_reported > 0.4
    assert found.production_self_reported > 0.4


def test_the_interval_is_the_binomial_one():
    found = simulate_analysts(40, policy=POLICY, seed=2, most_tries=5, days=126, draws=99)
    low, high = binom.ppf((0.005, 0.995), 40, 0.05) / 40
    assert (found.staging.low, found.staging.high) == (low, high)


def test_the_same_seed_calibrates_alike_and_another_one_otherwise():
    runs = [
        simulate_analysts(30, policy=POLICY, seed=seed, most_tries=20, days=126, draws=99)
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_the_command_reports_every_claim_and_its_verdict():
    result = CliRunner().invoke(
        app, ["calibrate", "--studies", "20", "--analysts", "20", "--seed", "3", "--json"]
    )
    answer = msgspec.json.decode(result.stdout)
    assert len(answer["claims"]) == 6
    assert result.exit_code == (0 if all(answer["claims"].values()) else 1)
    assert answer["analysts"]["staging_self_reported"] > answer["analysts"]["staging"]["hits"] / 20


def test_too_few_studies_are_one_clear_error():
    with pytest.raises(GateInputInvalid, match="need 20 of each"):
        calibrate(policy=POLICY, studies=5, analysts=2000)
