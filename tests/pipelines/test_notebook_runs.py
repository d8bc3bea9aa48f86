"""Real kernels: each way a run can end has its cause, and the ledger stays whole through all."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.errors import NotebookInvalid, ParameterInvalid
from pipelines.runs.notebooks import RunProgress, RunRecord, run_notebook
from pipelines.workspace import Workspace
from runtime.clock import WallClock
from tests.fakes.notebook_files import Cell, write_notebook

PARAMETERS = ("parameters", "a = 1  # bars\nname = 'x'")
KERNEL_PID = "import os\nfrom pathlib import Path\nPath('{0}').write_text(str(os.getpid()))\n"
SLEEP = "import time; time.sleep(600)"

NOTEBOOKS: dict[str, list[Cell]] = {
    "good": [
        PARAMETERS,
        "import os\nprint(a, name, os.environ['SLUICE_RUN'], os.environ['OMP_NUM_THREADS'])",
        "from pipelines.workspace import open_workspace\nprint(open_workspace().run)",
    ],
    "bad": [PARAMETERS, "", "raise ValueError('first line\\nlast line')", "print('never')"],
    "killed": [PARAMETERS, "b = 2", KERNEL_PID + SLEEP, "print('never')"],
    "slow": [
        PARAMETERS,
        "import subprocess\n"
        "stray = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "from pathlib import Path\nPath('{0}').write_text(str(stray.pid))\n" + SLEEP,
    ],
    "greedy": [PARAMETERS, "hoard = bytearray(8 << 30)", "print('never')"],
}


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 120  # what was killed may wait for its turn on a busy machine
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def pid_in(path: Path) -> int:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError(f"{path} was never written")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    path = tmp_path_factory.mktemp("runs")
    record = {"lake_url": str(path / "lake"), "ledger_url": f"sqlite:///{path / 'research.db'}"}
    (path / "workspace.json").write_text(json.dumps(record | {"snapshot": None}))
    return Workspace(path)


@pytest.fixture(scope="module")
def progress() -> list[RunProgress]:
    return []


@pytest.fixture(scope="module")
def records(workspace: Workspace, progress: list[RunProgress]) -> dict[str, RunRecord]:
    """Every notebook run once, each with a ledger of its own over one database.

    The good one runs first; how long it took says how long the slow one needs to its slow cell.
    """
    folder = workspace.path
    limits = dict.fromkeys(NOTEBOOKS, 600.0)

    def execute(name: str) -> RunRecord:
        cells: list[Cell] = [
            cell.replace("{0}", str(folder / f"{name}.pid")) if isinstance(cell, str) else cell
            for cell in NOTEBOOKS[name]
        ]
        told: Callable[[RunProgress], None] = progress.append if name == "good" else lambda _: None
        return run_notebook(
            write_notebook(folder / f"{name}.ipynb", cells),
            {"a": 5, "name": '"; import os'} if name == "good" else {},
            Workspace(folder),
            clock=WallClock(),
            timeout_s=limits[name],
            memory_bytes=(4 << 30) if name == "greedy" else None,
            on_progress=told,
        )

    def assassin() -> None:
        os.kill(pid_in(folder / "killed.pid"), signal.SIGKILL)

    threading.Thread(target=assassin, daemon=True).start()
    good = execute("good")
    limits["slow"] = float(max(12, round(4 * good.closed.seconds)))
    others = [name for name in NOTEBOOKS if name != "good"]
    with ThreadPoolExecutor(2) as pool:
        return {"good": good} | dict(zip(others, pool.map(execute, others), strict=True))


def statuses(record: RunRecord) -> list[str]:
    assert record.executed is not None
    cells = json.loads(Path(record.executed).read_text())["cells"]
    return [
        cell["metadata"]["papermill"]["status"]
        for cell in cells
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
    ]


def outputs(record: RunRecord) -> str:
    assert record.executed is not None
    cells = json.loads(Path(record.executed).read_text())["cells"]
    return "".join("".join(o.get("text", "")) for c in cells for o in c.get("outputs", ()))


def test_a_good_notebook_runs_with_its_parameters_in_its_workspace(
    records: dict[str, RunRecord], progress: list[RunProgress]
) -> None:
    record = records["good"]
    assert record.complete
    assert outputs(record) == f'5 "; import os {record.run} 1\n{record.run}\n'
    assert [(p.cell, p.cells) for p in progress] == [(0, 3), (1, 3), (2, 3)]
    assert record.parameters == {"a": 5, "name": '"; import os'}
    status = json.loads((Path(record.folder) / "status.json").read_text())
    assert (status["run"], status["closed"]["status"]) == (record.run, "complete")
    assert not list(Path(record.folder).glob(".*"))


def test_the_cells_of_the_executed_notebook_stand_where_they_stood(
    records: dict[str, RunRecord],
) -> None:
    executed = records["good"].executed
    assert executed is not None
    cells = json.loads(Path(executed).read_text())["cells"]
    assert len(cells) == len(NOTEBOOKS["good"])
    assert "".join(cells[0]["source"]) == "a = 5  # bars\nname = '\"; import os'"


@pytest.mark.parametrize(
    ("name", "cause", "cell", "message"),
    [
        ("bad", "cell error", 2, "cell 2 raised ValueError: last line"),
        ("killed", "killed", 2, r"the kernel ended by signal 9 \(SIGKILL\) in cell 2"),
        ("slow", "timeout", 1, r"not finished after \d+ s, stopped in cell 1"),
        ("greedy", "out of memory", 1, "cell 1 raised MemoryError; the limit is 4096 MiB"),
    ],
)
def test_a_failure_names_its_cause_and_cell(
    records: dict[str, RunRecord],
    workspace: Workspace,
    name: str,
    cause: str,
    cell: int,
    message: str,
) -> None:
    closed = records[name].closed
    assert (closed.status, closed.cause, closed.cell) == ("failed", cause, cell)
    assert re.fullmatch(message, closed.message)
    assert workspace.ledger().run(records[name].run).closed == closed


def test_cells_that_never_ran_are_not_called_completed(records: dict[str, RunRecord]) -> None:
    assert statuses(records["bad"]) == ["completed", "failed", "not run"]
    assert statuses(records["killed"]) == ["completed", "completed", "failed", "not run"]
    assert statuses(records["slow"]) == ["completed", "failed"]


def test_nothing_is_left_running(records: dict[str, RunRecord], workspace: Workspace) -> None:
    assert records["slow"].closed.cause == "timeout"
    assert gone(pid_in(workspace.path / "slow.pid"))
    assert gone(pid_in(workspace.path / "killed.pid"))


def test_the_ledger_is_whole_after_all_of_them(
    records: dict[str, RunRecord], workspace: Workspace
) -> None:
    assert workspace.ledger().verify().seq == 2 * len(records)
    assert {run.opened.run for run in workspace.ledger().runs()} == {
        record.run for record in records.values()
    }


RUNNER = """
import sys
from pathlib import Path
from pipelines.runs.notebooks import run_notebook
from pipelines.workspace import Workspace
from runtime.clock import WallClock
run_notebook(Path(sys.argv[1]), {}, Workspace(Path(sys.argv[2])), clock=WallClock())
"""


def test_a_killed_runner_takes_its_kernel_along_and_its_run_counts_as_crashed(
    tmp_path: Path,
) -> None:
    pid_file = tmp_path / "kernel.pid"
    path = write_notebook(
        tmp_path / "n.ipynb", [PARAMETERS, KERNEL_PID.replace("{0}", str(pid_file)), SLEEP]
    )
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(path), str(tmp_path)])
    kernel = pid_in(pid_file)
    runner.kill()
    runner.wait()
    assert gone(kernel)
    ledger = Workspace(tmp_path).ledger()
    assert [run.status for run in ledger.runs()] == ["crashed"]
    assert ledger.verify().seq == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"nmae": "y"}, "has no parameter 'nmae'; did you mean name"),
        ({"a = 1\nimport os": 1}, "names are never run as code"),
        ({"a": "1"}, "a must be int"),
    ],
)
def test_a_wrong_parameter_fails_before_anything_is_recorded_or_started(
    tmp_path: Path, given: dict[str, object], told: str
) -> None:
    path = write_notebook(tmp_path / "n.ipynb", [PARAMETERS, "1"])
    workspace = Workspace(tmp_path)
    with pytest.raises(ParameterInvalid, match=told):
        run_notebook(path, given, workspace, clock=WallClock())
    assert not (tmp_path / "runs").exists()
    assert workspace.ledger().verify().seq == 0


def test_a_missing_notebook_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotebookInvalid, match="there is no notebook"):
        run_notebook(tmp_path / "absent.ipynb", {}, Workspace(tmp_path), clock=WallClock())
