"""Ways to make a question look as if it had been tried less often; none of them lowers N."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from pipelines.errors import LedgerBroken, LedgerRefused
from pipelines.gates.evidence import evidence_of
from pipelines.ledger import Ledger, RunClosed, RunOpened, TrialClosed
from pipelines.workspace import Workspace, platform_checks
from runtime.clock import ReplayClock
from runtime.errors import DatabaseUnavailable
from tests.fakes.ledgers import (
    DAYS,
    STUDY,
    TRIED,
    Scene,
    complete,
    lease,
    nameless,
    opened,
    renamed,
)
from tests.fakes.notebooks import STRATEGY


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


def test_reads_without_a_trial_make_n_a_range_that_is_judged_at_its_upper_end(scene: Scene) -> None:
    ledger = scene.open()
    read_the_data_in_a_scratch_kernel(ledger)
    charge = ledger.charge("honest")
    assert (charge.at_least, charge.at_most, charge.leases) == (TRIED, TRIED + 3, 3)
    assert evidence_of(ledger.evidence("honest")).counted == TRIED + 3


def test_a_changed_lease_is_refused_before_anything_is_judged(scene: Scene) -> None:
    ledger = scene.open()
    ledger.reads.take(lease())
    scene.sql("UPDATE ledger_leases SET payload = replace(payload, 'honest', 'others')")
    with pytest.raises(LedgerBroken, match="ledger_leases"):
        ledger.evidence("honest")
