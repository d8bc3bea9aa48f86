"""What is another question and what the same one; what is no new try and costs nothing."""

from datetime import timedelta

import msgspec
import pytest

from pipelines.ledger import RunClosed, RunOpened
from pipelines.shape import shape_hash
from tests.fakes.ledgers import DAYS, STUDY, TRIED, Scene, complete, opened, renamed
from tests.fakes.notebooks import STRATEGY


@pytest.mark.parametrize(
    "declared",
    [
        {"universe": "emerging_markets"},
        {"price_feature": "rates.close"},
        {"research": ["2003-01-02", "2010-12-31"]},
    ],
)
def test_other_data_are_another_question(scene: Scene, declared: dict[str, object]) -> None:
    ledger = scene.open()
    assert ledger.charge(renamed(ledger, declared=declared)).at_most == 1


def test_the_same_cell_is_one_question_where_its_shape_is_not_known(scene: Scene) -> None:
    ledger = scene.open()
    ledger.declare_study(STUDY | {"name": "shapeless"})
    ledger.open_trial(msgspec.structs.replace(opened(400, study="shapeless"), shape_hash=""))
    assert ledger.charge("shapeless").studies == ("shapeless", "honest")


def test_other_code_on_the_same_data_is_another_question(scene: Scene) -> None:
    ledger = scene.open()
    source = STRATEGY.replace("-score", "score * score")
    assert ledger.charge(renamed(ledger, source=source)).studies == ("fresh",)


def test_repeating_a_colleagues_trials_to_the_bit_costs_nothing(scene: Scene) -> None:
    ledger = scene.open()
    ledger.declare_study(STUDY | {"name": "replicated", "owner": "bob"})
    for lookback in range(1, TRIED + 1):
        key = ledger.open_trial(opened(lookback, study="replicated"))
        ledger.close_trial(key, complete(lookback))
    charge = ledger.charge("replicated")
    assert (charge.studies, charge.at_most) == (("replicated", "honest"), TRIED)
    assert len(ledger.evidence("replicated").names) == TRIED


def test_a_name_with_few_common_days_counts_but_does_not_shorten_the_history(scene: Scene) -> None:
    ledger = scene.open()
    ledger.declare_study(STUDY | {"name": "later", "research": ["2002-01-02", "2009-12-31"]})
    later = [day + timedelta(days=30) for day in DAYS]
    key = ledger.open_trial(opened(9, study="later"))
    ledger.close_trial(key, complete(9, later))
    evidence = ledger.evidence("later")
    assert (evidence.trials, len(evidence.names), evidence.dates.size) == (TRIED + 1, 1, 60)


def test_a_run_that_came_to_its_trial_or_never_started_is_not_charged_again(scene: Scene) -> None:
    ledger = scene.open()
    for run, cause in (("failed-first", "cell error"), ("no-kernel", "kernel did not start")):
        opened_run = RunOpened(
            run=run, notebook="honest.ipynb", notebook_hash=f"h-{cause}", parameters={}
        )
        ledger.open_run(opened_run)
        ledger.close_run(run, RunClosed(status="failed", cause=cause))  # type: ignore[arg-type]
    assert ledger.charge("honest").runs == 1
    again = RunOpened(
        run="second", notebook="honest.ipynb", notebook_hash="h-cell error", parameters={}
    )
    ledger.open_run(again)
    ledger.open_trial(opened(1, run="second"))
    assert ledger.charge("honest").runs == 0


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ("def f(a, b):\n    '''says'''\n    return a.x[:, -1] * 2.5, b", True),
        ("def g(c: int, d) -> int:  # a comment\n    return (c.y[:, -7] * 3), d", True),
        ("def f(a, b):\n    return b.x[:, -1] * 2.5, a", False),
        ("def f(a, b):\n    return a.x[:, -1] / 2.5, b", False),
        ("def f(a, b):\n    return a.x[:, 1] * 2.5, b", False),
        ("def f(xp, b):\n    return xp.x[:, -1] * 2.5, b", False),
        ("def f(a, b): return (", False),
    ],
)
def test_the_shape_of_code_keeps_what_it_does_and_drops_how_it_is_spelled(
    source: str, same: bool
) -> None:
    plain = "def f(a, b):\n    return a.x[:, -1] * 2.5, b"
    assert (shape_hash(source) == shape_hash(plain)) is same


def test_features_asked_for_are_part_of_the_shape() -> None:
    assert shape_hash(STRATEGY) != shape_hash(STRATEGY.replace("us_equities.close", "macro.cpi"))
