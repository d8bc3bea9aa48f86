"""A look at the data is charged once, to whom it may have shown something."""

import subprocess
import sys

import pytest

from pipelines.backtest import backtest
from pipelines.compile import compile_strategy
from pipelines.definition import load_definition
from pipelines.errors import EvaluationUnrecorded
from pipelines.evaluate import evaluate, evaluate_trial
from pipelines.ledger import RunOpened
from pipelines.workspace import Workspace
from runtime.bundles.inference import DecisionSession
from tests.fakes.ledgers import TRIED, Scene, complete, lease, nameless, opened
from tests.fakes.notebooks import tiny_notebook


@pytest.mark.parametrize(
    "changes",
    [
        {"view": "vix"},
        {"columns": ("volume",)},
        {"last": "2000-12-29T21:00:00+00:00"},
        {"first": "2003-01-02T21:00:00+00:00", "last": "2016-12-30T21:00:00+00:00"},
        {"rows": 0},
        {"platform": True},
    ],
)
def test_a_look_that_saw_no_price_of_the_question_is_not_charged(
    scene: Scene, changes: dict[str, object]
) -> None:
    ledger = scene.open()
    ledger.reads.take(nameless(**changes))
    ledger.close_trial(ledger.open_trial(opened(20)), complete(20))
    assert ledger.charge("honest").at_most == TRIED + 1


def test_a_look_after_the_newest_trial_has_chosen_none_and_counts_once_another_is_opened(
    scene: Scene,
) -> None:
    later = scene.open(day=6)
    later.reads.take(nameless())
    assert later.charge("honest").leases == 0
    later.open_trial(opened(3))  # the same configuration once more is no new trial
    assert later.charge("honest").leases == 0
    scene.open(day=7).open_trial(opened(20))
    charge = later.charge("honest")
    assert (charge.at_least, charge.at_most) == (TRIED + 1, TRIED + 2)
    assert [(read.run, read.by) for _, read in later.silent_reads("honest")] == [("scratch", "ann")]


def test_a_scheduled_notebook_that_looks_every_night_is_one_reader(scene: Scene) -> None:
    ledger = scene.open()
    for night, content in enumerate(["a", "a", "a", "b"]):
        run = RunOpened(
            run=f"n{night}", notebook="look.ipynb", notebook_hash=content, parameters={}
        )
        ledger.open_run(run)
        ledger.reads.take(nameless(run=f"n{night}", notebook="look.ipynb"))
    assert ledger.charge("honest").leases == 2


def test_a_trial_answers_for_the_reads_of_its_run_and_of_its_notebook(scene: Scene) -> None:
    ledger = scene.open()
    for read in (lease(run="r1", notebook=""), lease(notebook="honest.ipynb")):
        ledger.reads.take(read)
    assert ledger.charge("honest").leases == 1  # the notebook's trials stand already
    ledger.open_trial(opened(1, run="r1"))
    assert ledger.charge("honest").leases == 0


def test_a_run_that_read_and_left_no_trial_is_charged_once(scene: Scene) -> None:
    ledger = scene.open()
    ledger.open_run(RunOpened(run="r9", notebook="honest.ipynb", notebook_hash="h9", parameters={}))
    ledger.reads.take(lease(run="r9", notebook="honest.ipynb"))
    charge = ledger.charge("honest")
    assert (charge.runs, charge.leases) == (1, 0)


def test_returns_asked_for_past_the_recorded_door_are_refused_where_a_person_looks_on(
    tmp_path, market_lake, monkeypatch
):
    place = Workspace(
        tmp_path, lake_url=market_lake.fresh_url(), snapshot=market_lake.snapshot, run="a-kernel"
    )
    chosen = load_definition(tiny_notebook(tmp_path / "tiny.ipynb"), {})
    with pytest.raises(EvaluationUnrecorded, match=r"run a-kernel.*pipelines\.research\.submit"):
        evaluate(chosen, place)
    monkeypatch.setattr("pipelines.door.in_kernel", lambda: True)
    symbols = place.research_panel(chosen.study).symbols
    with pytest.raises(EvaluationUnrecorded, match=r"in a kernel.*pipelines\.research\.submit"):
        backtest(
            DecisionSession(compile_strategy(chosen.strategy, len(symbols))),
            chosen.strategy.inputs,
            place.research_reader(chosen.study),
            chosen.study,
            chosen.study.research,
        )
    place.ledger().declare_study(chosen.study.declaration())
    charge = place.ledger().charge("tiny")
    assert (charge.at_least, charge.at_most) == (0, 1), "no figure was seen, but data was read"
    trial = evaluate_trial(chosen, place)
    assert trial.backtest.net.size > 200
    charge = place.ledger().charge("tiny")
    assert (charge.at_least, charge.at_most) == (1, 1)


def test_a_prompt_is_a_place_where_a_person_looks_on_and_a_program_is_not() -> None:
    asked = "from pipelines.door import at_a_prompt; print(at_a_prompt())"
    for words, said in ((["-c", asked], "False"), (["-i"], "True")):
        ended = subprocess.run(
            [sys.executable, *words],
            input="" if "-c" in words else f"{asked}\n",
            capture_output=True,
            text=True,
            check=True,
        )
        assert ended.stdout.strip() == said
