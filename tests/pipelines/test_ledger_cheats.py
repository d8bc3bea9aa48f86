"""Ways to make a question look as if it had been tried less often; none of them lowers N."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pipelines.backtest import backtest
from pipelines.compile import compile_strategy
from pipelines.definition import load_definition
from pipelines.errors import EvaluationUnrecorded, LedgerBroken, LedgerRefused
from pipelines.evaluate import evaluate, evaluate_trial
from pipelines.gates.evidence import evidence_of
from pipelines.ledger import (
    Ledger,
    RunClosed,
    RunOpened,
    TrialClosed,
)
from pipelines.shape import shape_hash
from pipelines.workspace import Workspace, platform_checks
from runtime.bundles.inference import DecisionSession
from runtime.clock import ReplayClock
from runtime.errors import DatabaseUnavailable
from tests.fakes.ledgers import (
    DAYS,
    STUDY,
    TRIED,
    Scene,
    complete,
    honest_scene,
    lease,
    nameless,
    opened,
    renamed,
)
from tests.fakes.notebooks import STRATEGY, tiny_notebook


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return honest_scene(tmp_path)


def rename_the_study(ledger: Ledger) -> str:
    return renamed(ledger)


def copy_the_notebook(ledger: Ledger) -> str:
    return renamed(ledger, notebook="copy of honest.ipynb")


def let_a_colleague_ask(ledger: Ledger) -> str:
    return renamed(ledger, declared={"owner": "bob", "question": "Quite another one?"})


def respell_names_and_numbers(ledger: Ledger) -> str:
    source = STRATEGY.replace("score", "signal").replace("held", "kept").replace("1.0", "1.0001")
    return renamed(ledger, source="# all my own work\n" + source)


def rewrite_the_code_so_that_it_earns_the_same(ledger: Ledger) -> str:
    name = renamed(ledger, source="def decide(xp, inputs): return 2 * inputs.a, inputs.b")
    key = ledger.open_trial(opened(200, study=name, source="something else"))
    ledger.close_trial(key, complete(3))  # what the honest trial with lookback 3 earned
    return name


def move_the_research_window_a_little(ledger: Ledger) -> str:
    return renamed(ledger, declared={"research": ["2001-02-01", "2003-06-30"]})


def pass_the_study_on_through_a_third_name(ledger: Ledger) -> str:
    ledger.declare_study(STUDY | {"name": "between"})
    bridge = opened(300, study="between", source=STRATEGY)
    ledger.close_trial(ledger.open_trial(bridge), complete(300))
    step = opened(301, study="between", source="score = 1")
    ledger.close_trial(ledger.open_trial(step), complete(301))
    return renamed(ledger, source="score = 2")


def declare_a_smaller_search_space(ledger: Ledger) -> str:
    with pytest.raises(LedgerRefused, match="its search_space can no longer be changed"):
        ledger.declare_study(STUDY | {"search_space": {"lookback": [1]}})
    return "honest"


def declare_another_universe_and_move_on(ledger: Ledger) -> str:
    with pytest.raises(LedgerRefused, match="another question is a new study"):
        ledger.declare_study(STUDY | {"universe": "another"})
    return renamed(ledger)


def let_bad_trials_crash_fail_or_be_pruned(ledger: Ledger) -> str:
    for lookback in (11, 12, 13):
        key = ledger.open_trial(opened(lookback))
        if lookback == 12:
            ledger.close_trial(key, TrialClosed(status="failed", reason="on purpose"))
        if lookback == 13:
            ledger.close_trial(key, TrialClosed(status="pruned", reason="looked bad"))
    return "honest"


def run_a_trial_again_until_it_looks_good(ledger: Ledger) -> str:
    for seed in (50, 51, 52):
        ledger.close_trial(ledger.open_trial(opened(1)), complete(seed))
    return "honest"


def look_in_the_notebook_and_record_nothing(ledger: Ledger) -> str:
    for number in range(4):
        run = f"silent-{number}"
        ledger.open_run(
            RunOpened(
                run=run, notebook="honest.ipynb", notebook_hash=f"h{number}", parameters={"n": 1}
            )
        )
        if number != 3:  # the last one was killed
            ledger.close_run(run, RunClosed(status="complete"))
    return "honest"


def read_the_data_in_a_scratch_kernel(ledger: Ledger) -> str:
    ledger.reads.take(lease())
    ledger.reads.take(lease(view="us_index"))  # the same kernel
    ledger.reads.take(lease(by="bob"))
    ledger.reads.take(lease(run="of-a-schedule", notebook=""))
    return "honest"


def read_under_another_name_and_record_little(ledger: Ledger) -> str:
    name = renamed(ledger)
    ledger.reads.take(lease(name))
    return "honest"


def look_without_a_name_and_record_the_winner(ledger: Ledger) -> str:
    ledger.reads.take(nameless())
    ledger.reads.take(nameless(view="us_index"))  # the same kernel
    ledger.reads.take(nameless(run=None, notebook="aside.ipynb"))
    ledger.close_trial(ledger.open_trial(opened(20)), complete(20))
    return "honest"


def record_the_winner_in_the_kernel_that_looked(ledger: Ledger) -> str:
    ledger.reads.take(nameless(run="kernel-7"))
    ledger.close_trial(ledger.open_trial(opened(20, run="kernel-7")), complete(20))
    return "honest"


def look_in_the_name_of_a_decoy(ledger: Ledger) -> str:
    ledger.declare_study(STUDY | {"name": "decoy"})
    ledger.reads.take(msgspec.structs.replace(nameless(), study="decoy"))
    ledger.close_trial(ledger.open_trial(opened(20)), complete(20))
    return "honest"


@pytest.mark.parametrize(
    ("cheat", "counted"),
    [
        (rename_the_study, TRIED + 1),
        (copy_the_notebook, TRIED + 1),
        (let_a_colleague_ask, TRIED + 1),
        (respell_names_and_numbers, TRIED + 1),
        (rewrite_the_code_so_that_it_earns_the_same, TRIED + 1),
        (move_the_research_window_a_little, TRIED + 1),
        (pass_the_study_on_through_a_third_name, TRIED + 3),
        (declare_a_smaller_search_space, TRIED),
        (declare_another_universe_and_move_on, TRIED + 1),
        (let_bad_trials_crash_fail_or_be_pruned, TRIED + 3),
        (run_a_trial_again_until_it_looks_good, TRIED),
        (look_in_the_notebook_and_record_nothing, TRIED + 4),
        (read_the_data_in_a_scratch_kernel, TRIED + 3),
        (read_under_another_name_and_record_little, TRIED + 2),
        (look_without_a_name_and_record_the_winner, TRIED + 3),
        (record_the_winner_in_the_kernel_that_looked, TRIED + 2),
        (look_in_the_name_of_a_decoy, TRIED + 2),
    ],
)
def test_nothing_that_can_be_recorded_lowers_n(
    scene: Scene, cheat: Callable[[Ledger], str], counted: int
) -> None:
    ledger = scene.open()
    name = cheat(ledger)
    charge = ledger.charge(name)
    assert charge.at_most == counted
    assert ledger.evidence(name).trials == counted
    assert ledger.charge("honest").at_most >= TRIED
    assert scene.open().charge(name) == charge


@pytest.mark.parametrize("borrowed", [False, True], ids=["as it is", "with the platform's mark"])
@pytest.mark.parametrize("where", ["program", "run", "kernel", "prompt"])
def test_the_platforms_own_reader_in_a_persons_hands_lowers_n_nowhere(
    scene: Scene, market_lake, monkeypatch, where: str, borrowed: bool
) -> None:
    if where in ("kernel", "prompt"):
        named = {"kernel": "in_kernel", "prompt": "at_a_prompt"}[where]
        monkeypatch.setattr(f"pipelines.workspace.{named}", lambda: True)
    place = Workspace(
        scene.folder,
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
        run="looking" if where == "run" else None,
        clock=ReplayClock(datetime(2026, 1, 5, tzinfo=UTC)),
    )
    with platform_checks() if borrowed else nullcontext():
        reader = place.platform_reader()
    assert reader.rows("us_equities").height
    ledger = scene.open(day=6)
    ledger.close_trial(ledger.open_trial(opened(20)), complete(20))
    an_audit = borrowed and where == "program"
    assert ledger.charge("honest").at_most == TRIED + 1 + (not an_audit)


def test_the_gates_see_the_columns_of_every_name_and_judge_the_asked_one(scene: Scene) -> None:
    ledger = scene.open()
    name = renamed(ledger, 2)
    study = ledger.evidence(name)
    assert len(study.names) == TRIED + 2
    assert len(study.foreign) == TRIED
    evidence = evidence_of(study)
    assert evidence.counted == TRIED + 2
    assert ledger.trial(evidence.trials[evidence.chosen]).study == name


def test_a_better_trial_under_another_name_is_the_one_that_luck_is_measured_by(
    scene: Scene,
) -> None:
    ledger = scene.open()
    lucky = TrialClosed(
        status="complete", dates=DAYS, net=np.array(complete(1).net) + 0.02, benchmark=[0.0] * 60
    )
    ledger.close_trial(ledger.open_trial(opened(77)), lucky)
    evidence = evidence_of(ledger.evidence(renamed(ledger, 2)))
    assert evidence.best != evidence.chosen
    assert ledger.trial(evidence.trials[evidence.best]).study == "honest"


def test_deleting_outputs_notebooks_and_runs_changes_nothing(scene: Scene) -> None:
    before = scene.open().charge("honest")
    for folder in ("runs", "bundles"):
        (scene.folder / folder).mkdir()
        shutil.rmtree(scene.folder / folder)
    assert scene.open().charge("honest") == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET payload = (SELECT payload FROM ledger WHERE seq = 4) WHERE seq = 2",
        "UPDATE ledger SET kind = 'note' WHERE seq = 2",
        "DELETE FROM ledger WHERE seq = 4",
        "DELETE FROM ledger WHERE seq >= 8",
        "DELETE FROM ledger",
        "DROP TABLE ledger",
        "UPDATE ledger_blobs SET content = (SELECT content FROM ledger_blobs LIMIT 1)",
    ],
)
def test_editing_cutting_or_emptying_the_record_is_refused_before_anything_is_judged(
    scene: Scene, statement: str
) -> None:
    watching = scene.open()
    watching.charge("honest")
    scene.sql(statement)
    for one in (lambda: watching, scene.open):
        with pytest.raises((LedgerBroken, DatabaseUnavailable)):
            one().evidence("honest")


def test_cutting_the_tail_and_the_file_that_remembers_it_is_noticed_too(scene: Scene) -> None:
    scene.sql("DELETE FROM ledger WHERE seq >= 8")
    (scene.folder / "ledger.head").unlink()
    with pytest.raises(LedgerBroken, match="cannot be noticed"):
        scene.open().evidence("honest")


# ---- what is another question, and what is no new try


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


def test_reads_without_a_trial_make_n_a_range_that_is_judged_at_its_upper_end(scene: Scene) -> None:
    ledger = scene.open()
    read_the_data_in_a_scratch_kernel(ledger)
    charge = ledger.charge("honest")
    assert (charge.at_least, charge.at_most, charge.leases) == (TRIED, TRIED + 3, 3)
    assert evidence_of(ledger.evidence("honest")).counted == TRIED + 3


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


def test_a_changed_lease_is_refused_before_anything_is_judged(scene: Scene) -> None:
    ledger = scene.open()
    ledger.reads.take(lease())
    scene.sql("UPDATE ledger_leases SET payload = replace(payload, 'honest', 'others')")
    with pytest.raises(LedgerBroken, match="ledger_leases"):
        ledger.evidence("honest")


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
