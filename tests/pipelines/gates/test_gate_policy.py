"""The policy file: the thresholds that were agreed, and nothing unnoticed beside them."""

from importlib.resources import files

import numpy as np
import pytest

from pipelines.gates.blocklength import shared_block
from pipelines.gates.errors import GatePolicyInvalid
from pipelines.gates.policy import default_policy, read_policy

TEXT = files("pipelines.gates").joinpath("policy.toml").read_text("utf-8")


def test_shipped_thresholds_are_the_agreed_ones():
    policy = default_policy()
    assert (policy.spa.alpha, policy.spa.draws) == (0.05, 10_000)
    assert (policy.dsr.confidence, policy.pbo.ceiling, policy.pbo.blocks) == (0.95, 0.30, 16)
    assert policy.parity.tolerance == 1e-9
    assert policy.spa.mean_block == "automatic"


def test_the_hash_sees_values_and_not_comments():
    policy = default_policy()
    without_comments = "\n".join(line.split("#")[0] for line in TEXT.splitlines())
    assert read_policy(without_comments).hash == policy.hash
    assert read_policy(TEXT.replace("alpha = 0.05", "alpha = 0.06")).hash != policy.hash


def test_a_fixed_block_is_used_as_it_stands():
    returns = 0.01 * np.random.default_rng(1).normal(size=(6550, 3))
    returns[1:] += 0.9 * returns[:-1]
    blocks = {}
    for block in ('"sqrt"', "21", '"automatic"'):
        policy = read_policy(TEXT.replace('mean_block = "automatic"', f"mean_block = {block}"))
        blocks[block] = policy.spa.block(returns)
    assert blocks == {'"sqrt"': 81, "21": 21, '"automatic"': shared_block(returns)}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("alpha = 0.05", "alpha = 1.5", "spa.alpha"),
        ("alpha = 0.05", "", "alpha"),
        ("alpha = 0.05", "alpha = 0.05\nalpah = 0.5", "alpah"),
        ("blocks = 16", "blocks = 15", "pbo.blocks"),
        ("blocks = 16", "blocks = 'many'", "pbo.blocks"),
        ("confidence = 0.95", "confidence = 0.4", "dsr.confidence"),
        ("[pbo]", "[pbo", "policy"),
    ],
)
def test_a_bad_policy_is_refused_and_the_value_named(old, new, says):
    with pytest.raises(GatePolicyInvalid, match=says):
        read_policy(TEXT.replace(old, new))
