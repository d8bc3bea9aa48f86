"""Kernels of the hub: a run record before the first cell, closed at the end, crashed if killed."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

from hub.jupyterhub_config import write_kernelspec
from pipelines.ledger.leases import unrecorded
from pipelines.runs.kernel import kernel_id, recorded
from pipelines.workspace import Workspace
from runtime.clock import WallClock
from tests.fakes.notebooks import PARAMETERS, STRATEGY, STUDY, code_cell, write_notebook

ROOT = str(Path(__file__).resolve().parents[2])


@pytest.fixture
def place(tmp_path, market_lake):
    workspace = Workspace(
        tmp_path / "ws", lake_url=market_lake.fresh_url(), snapshot=market_lake.snapshot
    )
    workspace.save()
    return workspace


def seen(place):
    """The ledger as another process sees it."""
    return Workspace(place.path, lake_url=place.lake_url, snapshot=place.snapshot).ledger()


def start(tmp_path, place, **more):
    write_kernelspec(tmp_path / "jupyter", sys.executable)
    specs = KernelSpecManager(kernel_dirs=[str(tmp_path / "jupyter" / "kernels")])
    manager = KernelManager(kernel_spec_manager=specs, kernel_name="python3")
    manager.connection_file = str(tmp_path / "kernel-5f0c2b1a-0001.json")
    environ = {name: value for name, value in os.environ.items() if name != "SLUICE_RUN"}
    told = {"SLUICE_WORKSPACE": str(place.path), "JUPYTERHUB_USER": "alice", "PYTHONPATH": ROOT}
    manager.start_kernel(env=environ | told | more, cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    return manager, client


def test_a_kernel_is_on_record_before_its_first_cell_and_closed_at_its_end(tmp_path, place):
    path = write_notebook(tmp_path / "idea.ipynb", code_cell("1"))
    manager, client = start(tmp_path, place, JPY_SESSION_NAME=str(path))
    (run,) = seen(place).runs()
    assert (run.opened.kind, run.opened.by, run.opened.kernel) == (
        "kernel",
        "alice",
        "5f0c2b1a-0001",
    )
    assert run.opened.notebook == str(path)
    assert len(run.opened.notebook_hash) == 64
    assert run.closed is None
    for source in (PARAMETERS, STUDY, STRATEGY):
        client.execute_interactive(source, timeout=120)
    client.execute_interactive(
        "from pipelines.research import preview\npreview(study, strategy, date(2001, 6, 29))",
        timeout=120,
    )
    past_the_door = (
        "from pipelines.definition import definition_of\nfrom pipelines.evaluate import evaluate\n"
        "from pipelines.research import open_workspace\n"
        f"place = open_workspace({str(place.path)!r}, environ={{}})\n"
        "evaluate(definition_of(study, strategy), place)"
    )
    answer = client.execute_interactive(past_the_door, timeout=120)["content"]
    assert answer["ename"] == "EvaluationUnrecorded", answer
    assert "in a kernel" in answer["evalue"]
    ((_, lease),) = seen(place).reads.leases("tiny")
    assert (lease.run, lease.by) == (run.opened.run, "alice")
    client.execute_interactive(
        "from pipelines.research import submit\nsubmit(study, strategy)", timeout=120
    )
    ledger = seen(place)
    (trial,) = ledger.trials("tiny")
    assert trial.run == run.opened.run
    assert unrecorded(ledger.reads.leases("tiny"), (trial,)) == ()
    client.shutdown()
    deadline = time.monotonic() + 60
    while seen(place).run(run.opened.run).closed is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen(place).run(run.opened.run).status == "complete"
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_kernel_that_looks_and_vanishes_reads_as_crashed_and_is_charged(tmp_path, place):
    manager, client = start(tmp_path, place)
    look = "open_workspace().research_panel(study).prices.shape"
    look = f"from pipelines.research import open_workspace\n{look}"
    declare = "open_workspace().ledger().declare_study(study.declaration())"
    for source in (STUDY, look, declare):
        client.execute_interactive(source, timeout=120)
    charge = seen(place).charge("tiny")
    assert (charge.at_least, charge.at_most) == (0, 1), (
        "who read and recorded nothing may have tried"
    )
    os.kill(manager.provisioner.pid, signal.SIGKILL)
    manager.provisioner.process.wait(30)
    (run,) = seen(place).runs()
    assert run.status == "crashed"
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_kernel_of_a_recorded_run_opens_no_second_one(place):
    environ = {"SLUICE_WORKSPACE": str(place.path), "SLUICE_RUN": "a-run"}
    with recorded("k", clock=WallClock(), environ=environ, process=1) as named:
        assert named is None
    assert place.ledger().runs() == ()


def test_without_a_workspace_a_kernel_starts_and_says_that_it_is_unrecorded(tmp_path, capsys):
    environ = {"SLUICE_WORKSPACE": str(tmp_path / "nowhere")}
    with recorded("k", clock=WallClock(), environ=environ, process=1) as named:
        assert named is None
    assert "no run record" in capsys.readouterr().err
    assert "SLUICE_RUN" not in environ


def test_the_kernels_id_is_read_from_its_connection_file():
    assert kernel_id(["x", "-f", "/run/kernel-5f0c2b1a-77.json"]) == "5f0c2b1a-77"
    assert kernel_id(["x", "-f", "/run/mine.json"]) == ""
