"""A policy file: the packaged one is whole, one that makes no sense is refused in words."""

from __future__ import annotations

import pytest

from runtime.errors import PolicyInvalid
from runtime.policies.policy import default_policy, load_policy, parse_policy
from tests.runtime.guardrails.scene import POLICY, limits


def test_the_default_policy_is_complete_and_names_itself_by_content():
    for section in ("authority", "market", "size", "price", "exposure", "loss", "rate", "health"):
        values = getattr(POLICY, section)
        assert all(getattr(values, name) is not None for name in values.__struct_fields__)
    assert POLICY.hash == default_policy().hash
    assert POLICY.hash != limits("rate", max_repeats=6).hash
    assert parse_policy('name = "a" # comment').hash == parse_policy("name = 'a'").hash


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "Invalid"),
        ("[rate]\nmax_repeats = 3", "name"),
        ('name = "x"\n[rates]', "rates"),
        ('name = "x"\n[rate]\nmax_repeat = 3', "max_repeat"),
        ('name = "x"\n[rate]\nmax_repeats = "three"', "max_repeats"),
        ('name = "x"\n[loss]\nmax_drawdown = -0.1', "loss.max_drawdown cannot be -0.1"),
        ('name = "x"\n[loss]\nmax_drawdown = nan', "max_drawdown"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(text, words, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyInvalid, match=words):
        load_policy(path)


def test_a_missing_policy_file_is_refused(tmp_path):
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        load_policy(tmp_path / "nothing.toml")
