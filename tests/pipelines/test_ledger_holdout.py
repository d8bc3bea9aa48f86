"""A holdout is looked at once, by whatever name, and only while nobody has researched its days."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.errors import HoldoutSpent
from pipelines.ledger import Ledger
from tests.fakes.ledgers import STUDY, Scene, complete, honest_scene, opened, renamed

LOOK = datetime(2026, 1, 5, tzinfo=UTC)
SEALED = ["2003-01-02", "2004-12-31"]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return honest_scene(tmp_path)


def asked(ledger: Ledger, name: str, lookback: int, **declared: object) -> str:
    """Declare a study of the same cell, try one configuration; return the trial's key."""
    ledger.declare_study(STUDY | {"name": name} | declared)
    key = ledger.open_trial(opened(lookback, study=name))
    ledger.close_trial(key, complete(lookback))
    return key


def test_a_second_name_gives_no_second_look_at_the_holdout(scene: Scene) -> None:
    ledger = scene.open()
    first = ledger.trials("honest")[0].key
    ledger.spend_holdout("honest", first, "ann", datetime(2026, 1, 5, tzinfo=UTC))
    name = renamed(ledger, declared={"holdout": ["2003-01-02", "2004-12-31"]})
    with pytest.raises(HoldoutSpent, match="fresh asks the question of honest, whose holdout"):
        ledger.spend_holdout(
            name, ledger.trials(name)[0].key, "bob", datetime(2026, 1, 6, tzinfo=UTC)
        )
    assert ledger.holdout(name) is None


def test_a_holdout_after_the_one_that_was_seen_may_be_looked_at(scene: Scene) -> None:
    ledger = scene.open()
    names = ("earlier", "later")
    for name, year, lookback in zip(names, (2003, 2005), (31, 32), strict=True):
        window = [f"{year}-01-02", f"{year + 1}-12-31"]
        ledger.declare_study(STUDY | {"name": name, "holdout": window})
        key = ledger.open_trial(opened(lookback, study=name))
        ledger.close_trial(key, complete(lookback))
        ledger.spend_holdout(name, key, "ann", datetime(2026, 1, 5, tzinfo=UTC))
    assert all(ledger.holdout(name) for name in names)


@pytest.mark.parametrize(
    "research",
    [
        ["2001-01-02", "2003-06-30"],  # runs on into the sealed years
        ["2003-01-02", "2010-12-31"],  # shares no day with the research of the first name
    ],
)
def test_a_holdout_that_another_name_has_researched_is_not_unseen(
    scene: Scene, research: list[str]
) -> None:
    ledger = scene.open()
    key = asked(ledger, "sealed", 31, holdout=SEALED)
    asked(ledger, "peeking", 32, research=research, holdout=["2011-01-03", "2012-12-31"])
    with pytest.raises(HoldoutSpent, match="that peeking has researched with the same question"):
        ledger.spend_holdout("sealed", key, "ann", LOOK)
    assert ledger.holdout("sealed") is None


def test_research_of_other_code_or_of_other_prices_does_not_unseal(scene: Scene) -> None:
    ledger = scene.open()
    key = asked(ledger, "sealed", 31, holdout=SEALED)
    asked(ledger, "rates", 32, research=SEALED, price_feature="rates.close")
    ledger.declare_study(STUDY | {"name": "unlike", "research": SEALED})
    ledger.open_trial(opened(33, study="unlike", source="def decide(xp, i): return i.a, i.b + 1"))
    ledger.declare_study(STUDY | {"name": "untried", "research": SEALED})
    assert ledger.spend_holdout("sealed", key, "ann", LOOK).trial == key
