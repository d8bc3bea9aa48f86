"""Every read of research leaves a lease; reads that no trial answers for can be counted."""

import shutil
from datetime import UTC, datetime

import pytest

from featurestore.horizon import world_ends
from pipelines.definition import load_definition
from pipelines.errors import LedgerBroken
from pipelines.evaluate import evaluate_trial
from pipelines.ledger import Ledger, open_ledger
from pipelines.ledger.leases import unrecorded
from pipelines.workspace import Workspace, open_workspace, platform_checks
from runtime.clock import WallClock
from tests.fakes.notebooks import tiny_notebook


@pytest.fixture
def workspace(market_lake, tmp_path) -> Workspace:
    folder = tmp_path / "workspace"
    shutil.copytree(market_lake.path, folder / "lake")
    made = Workspace(folder, snapshot=market_lake.snapshot, run="run-1", by="ada")
    made.save()
    return made


@pytest.fixture
def definition(tmp_path):
    return load_definition(tiny_notebook(tmp_path / "n.ipynb"), {})


def test_a_read_leaves_one_lease_with_who_run_columns_range_and_version(
    workspace, definition, market_lake
):
    reader = workspace.research_reader(definition.study)
    book = workspace.ledger().reads
    assert book.leases() == ()
    for _ in range(3):
        reader.rows("us_equities")
        reader.symbols("us_equities")
    ((_, lease),) = book.leases("tiny")
    assert (lease.view, lease.run, lease.by, lease.columns) == (
        "us_equities", "run-1", "ada", ("close",),
    )  # fmt: skip
    assert lease.version == market_lake.snapshot.versions["us_equities"]
    assert lease.snapshot_hash == market_lake.snapshot.hash
    assert lease.first.startswith("1990-01-02")
    assert lease.last < lease.sealed_from == "2003-01-02T00:00:00+00:00"
    reader.rows("vix")
    assert [each.view for _, each in book.leases()] == ["us_equities", "vix"]
    assert book.verify().seq == 2
    assert book.pinned() == {
        "us_equities": {lease.version},
        "vix": {market_lake.snapshot.versions["vix"]},
    }


def test_a_read_through_a_truncated_reader_leaves_the_same_lease(workspace, definition):
    whole = workspace.research_reader(definition.study)
    short = whole.truncated(datetime(1995, 1, 3, tzinfo=UTC))
    assert workspace.ledger().reads.leases() == ()
    assert short.rows("us_equities")["known_at"].max() <= datetime(1995, 1, 3, tzinfo=UTC)
    ((_, lease),) = workspace.ledger().reads.leases("tiny")
    assert lease.run == "run-1"
    whole.rows("us_equities")
    short.truncated(datetime(1992, 1, 3, tzinfo=UTC)).symbols("us_equities")
    assert len(workspace.ledger().reads.leases()) == 1


def test_the_same_run_in_another_process_takes_no_second_lease(workspace, definition):
    workspace.research_reader(definition.study).rows("us_equities")
    other = Workspace(workspace.path, snapshot=workspace.snapshot, run="run-1", by="ada")
    other.research_reader(definition.study).rows("us_equities")
    assert len(workspace.ledger().reads.leases()) == 1
    third = Workspace(workspace.path, snapshot=workspace.snapshot, run="run-2", by="ada")
    third.research_reader(definition.study).rows("us_equities")
    assert [each.run for _, each in workspace.ledger().reads.leases()] == ["run-1", "run-2"]


def silent_runs(ledger: Ledger) -> list[str | None]:
    """Return the runs that read data of the question `tiny` and left no trial, as gates see it."""
    found = unrecorded(ledger.reads.leases("tiny"), ledger.trials("tiny"))
    return [lease.run for _, lease in found]


def test_reads_without_a_trial_are_counted_and_a_trial_answers_for_its_run(workspace, definition):
    workspace.ledger().declare_study(definition.study.declaration())
    workspace.research_reader(definition.study).rows("us_equities")
    assert silent_runs(workspace.ledger()) == ["run-1"]
    evaluate_trial(definition, workspace)
    assert silent_runs(workspace.ledger()) == []
    peeker = Workspace(workspace.path, snapshot=workspace.snapshot, run="run-2")
    peeker.research_reader(definition.study).rows("us_equities")
    assert silent_runs(workspace.ledger()) == ["run-2"]


def test_leases_change_neither_the_ledger_s_chain_nor_a_study_s_trials(workspace, definition):
    evaluate_trial(definition, workspace)
    before = workspace.ledger().head()
    workspace.research_reader(definition.study).rows("vix")
    assert workspace.ledger().head() == before
    assert workspace.ledger().study("tiny").trials == 1


def test_a_lease_that_was_changed_is_noticed(workspace, definition):
    workspace.research_reader(definition.study).rows("us_equities")
    ledger = open_ledger(workspace.ledger_url, clock=WallClock(), anchor=None)
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE ledger_leases SET payload = replace(payload, 'us_equities', 'vix')"
        )
    with pytest.raises(LedgerBroken, match="ledger_leases"):
        ledger.reads.verify()


def test_leases_cut_off_at_the_end_are_noticed_by_the_head_kept_outside(workspace, definition):
    reader = workspace.research_reader(definition.study)
    for view in ("us_equities", "vix"):
        reader.rows(view)
    ledger = workspace.ledger()
    assert ledger.reads.verify().seq == 2
    assert len((workspace.path / "leases.head").read_text().splitlines()) == 2
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ledger_leases WHERE seq = 2")
    with pytest.raises(LedgerBroken, match="ledger_leases: entry 2 was anchored outside"):
        ledger.verify()
    (workspace.path / "leases.head").unlink()
    with pytest.raises(LedgerBroken, match=r"leases\.head is missing"):
        ledger.reads.verify()


def test_a_process_that_opened_a_study_names_it_when_it_looks_around(workspace, definition):
    workspace.exploring_reader().rows("vix")
    workspace.research_reader(definition.study)
    workspace.exploring_reader().rows("us_equities")
    told = [(lease.study, lease.view) for _, lease in workspace.ledger().reads.leases()]
    assert told == [("", "vix"), ("tiny", "us_equities")]


def test_who_looked_around_is_charged_to_the_trial_that_is_recorded_afterwards(
    workspace, definition
):
    scratch = Workspace(workspace.path, snapshot=workspace.snapshot, run="scratch", by="bob")
    workspace.research_reader(definition.study)  # seals the holdout
    scratch.exploring_reader().rows("us_equities")
    scratch.exploring_reader().rows("vix")
    evaluate_trial(definition, workspace)
    ledger = workspace.ledger()
    charge = ledger.charge("tiny")
    assert (charge.at_least, charge.at_most) == (1, 2)
    ((_, read),) = ledger.silent_reads("tiny")
    assert (read.view, read.run, read.by) == ("us_equities", "scratch", "bob")


def test_a_check_of_the_platform_reads_on_record_and_charges_nobody(workspace, definition):
    program = Workspace(workspace.path, snapshot=workspace.snapshot)
    with platform_checks():
        readers = (program.platform_reader(definition.study), program.platform_reader())
    for reader in readers:
        reader.rows("us_equities")
    evaluate_trial(definition, Workspace(workspace.path, snapshot=workspace.snapshot, run="other"))
    ledger = workspace.ledger()
    assert [lease.platform for _, lease in ledger.reads.leases()] == [True, True, False]
    charge = ledger.charge("tiny")
    assert (charge.at_least, charge.at_most) == (1, 1)


def test_the_environment_says_who_reads(workspace):
    named = open_workspace(workspace.path, environ={"JUPYTERHUB_USER": "grace", "USER": "root"})
    assert named.by == "grace"
    assert open_workspace(workspace.path, environ={}).by == ""


def test_a_read_in_a_world_that_ends_leaves_its_lease_too(workspace, definition):
    reader = workspace.research_reader(definition.study)
    with world_ends(reader.sealed_from):
        workspace.research_reader(definition.study).rows("us_equities")
    assert len(workspace.ledger().reads.leases()) == 1


def test_a_read_past_the_workspace_s_own_readers_leaves_a_lease_as_well(workspace, definition):
    workspace.research_reader(definition.study)  # seals the holdout
    store = workspace.store()
    store.get_historical_features(
        ["us_equities.close"],
        symbols=["AAPL"],
        start=definition.study.research.start,
        end=definition.study.research.end,
        snapshot=workspace.snapshot,
    )
    ((_, lease),) = workspace.ledger().reads.leases()
    assert (lease.study, lease.view, lease.by) == ("", "us_equities", "ada")
    assert lease.last < "2003"
