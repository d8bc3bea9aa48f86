"""Warm kernels: the same results as cold ones, nothing shared between runs, nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import pipelines.runs.warm as module
from pipelines.errors import WarmRefused
from pipelines.runs.many import run_many
from pipelines.runs.notebooks import run_notebook, strip_volatile
from pipelines.runs.preload import _falls_asleep, asleep
from pipelines.runs.warm import WarmKernels, fork
from pipelines.workspace import Workspace
from runtime.clock import WallClock
from tests.fakes.notebooks import PARAMETERS, STRATEGY, STUDY, code_cell, write_notebook

ROOT = Path(__file__).resolve().parents[2]


hash_of_the_code = module.imported_code


@pytest.fixture(autouse=True, scope="module")
def no_edits_meanwhile():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "imported_code", lambda: "as it was")
        yield


@pytest.fixture(scope="module")
def warm(no_edits_meanwhile):
    with WarmKernels(environ=os.environ | {"PYTHONPATH": str(ROOT)}) as kernels:
        yield kernels


@pytest.fixture
def place(tmp_path, market_lake):
    workspace = Workspace(
        tmp_path / "ws", lake_url=market_lake.fresh_url(), snapshot=market_lake.snapshot
    )
    workspace.save()
    return workspace


def notebook(tmp_path, *sources, name="small.ipynb"):
    cells = [code_cell("level = 1", "parameters"), *(code_cell(source) for source in sources)]
    return write_notebook(tmp_path / name, *cells)


def run(path, place, warm, **options):
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    return run_notebook(path, {}, place, clock=WallClock(), warm=warm, environ=environ, **options)


def printed(record):
    import json

    cells = json.loads(Path(record.executed).read_bytes())["cells"]
    return "".join("".join(o.get("text", "")) for c in cells for o in c.get("outputs", ()))


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def gone(pid, within=120.0):
    deadline = time.monotonic() + within
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_the_parent_has_one_thread_that_works_and_one_that_cannot_wake_by_itself(warm):
    assert (warm.threads, warm.sleepers) == (1, 1)
    assert {"numpy", "vectorbt", "onnxruntime", "pipelines.research"} <= set(warm.preloaded)
    tasks = {int(task.name): task for task in Path(f"/proc/{warm.process.pid}/task").iterdir()}
    del tasks[warm.process.pid]
    (sleeper,) = tasks.values()
    assert (sleeper / "comm").read_text().startswith("polars")
    number, _address, _operation, _value, deadline = (sleeper / "syscall").read_text().split()[:5]
    assert number in {"202", "98"}  # futex
    assert int(deadline, 16) == 0


def test_only_a_thread_that_waits_without_a_deadline_counts_as_asleep():
    endless, timed, reading = threading.Event(), threading.Event(), os.pipe()
    waits = (endless.wait, lambda: timed.wait(500.0), lambda: os.read(reading[0], 1))
    started = [threading.Thread(target=wait, daemon=True) for wait in waits]
    for thread in started:
        thread.start()
    try:
        assert _falls_asleep(started[0].native_id)
        for thread in started[1:]:
            state = Path(f"/proc/self/task/{thread.native_id}/stat")
            while state.read_text().rpartition(")")[2].split()[0] != "S":
                time.sleep(0.01)
            assert not asleep(thread.native_id)
    finally:
        endless.set()
        timed.set()
        os.write(reading[1], b".")
        for thread in started:
            thread.join()
        for end in reading:
            os.close(end)


def test_cold_and_warm_runs_leave_equal_artefacts(tmp_path, place, warm):
    path = write_notebook(
        tmp_path / "trial.ipynb",
        code_cell(PARAMETERS, "parameters"),
        code_cell(STUDY, "study"),
        code_cell(STRATEGY, "strategy"),
        code_cell(
            "from pipelines import plots\nfrom pipelines.research import submit\n"
            "trial = submit(study, strategy)\ntrial"
        ),
        code_cell("plots.summary(trial)"),
        code_cell("plots.turnover(trial)"),
        code_cell("import pandas as pd\npd.Series([1.5, 2.5]).describe()"),
    )
    cold, hot = run(path, place, None), run(path, place, warm)
    assert cold.complete, cold.closed
    assert hot.complete, hot.closed
    kept = [
        strip_volatile(Path(record.executed).read_bytes(), paths=[place.path, tmp_path])
        for record in (cold, hot)
    ]
    assert kept[0] == kept[1]
    assert b"image/png" in kept[0]
    (record,) = place.ledger().trials("tiny")
    assert (record.attempts, record.reproducible) == (2, True)


def test_nothing_that_a_run_does_to_its_process_reaches_the_next(tmp_path, place, warm):
    vandal = notebook(
        tmp_path,
        "import builtins, os, sys, threading, time\nimport numpy as np\nimport pandas as pd\n"
        "pd.DataFrame.mean = None\nbuiltins.vandal = 1\nos.environ['VANDAL'] = '1'\n"
        "sys.path.insert(0, '/nowhere')\nos.chdir('/')\nnp.set_printoptions(precision=1)\n"
        "np.random.seed(0)\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\nprint(os.getpid())",
        name="vandal.ipynb",
    )
    look = notebook(
        tmp_path,
        "import os, sys, threading\nimport numpy as np\nimport pandas as pd\n"
        "import builtins\n"
        "print(pd.DataFrame.mean is None, hasattr(builtins, 'vandal'), '/nowhere' in sys.path,\n"
        "      'VANDAL' in os.environ or os.getcwd() == '/', np.get_printoptions()['precision'],\n"
        "      np.random.random(), os.getpid(), level)",
        name="look.ipynb",
    )
    first = run(vandal, place, warm)
    assert first.complete, first.closed
    seen = [printed(run(look, place, warm)).split() for _ in range(2)]
    for answers in seen:
        assert answers[:5] == ["False", "False", "False", "False", "8"]
        assert answers[7] == "1"
    assert seen[0][5] != seen[1][5], "two runs drew the same random numbers"
    assert len({printed(first).strip(), seen[0][6], seen[1][6]}) == 3, "a process was used twice"


def test_heavy_libraries_and_their_threads_work_in_a_warm_kernel(tmp_path, place, warm):
    path = notebook(
        tmp_path,
        "import numpy as np, polars as pl, onnxruntime, multiprocessing\n"
        "frame = pl.DataFrame({'a': range(100000), 'b': [i % 7 for i in range(100000)]})\n"
        "print(frame.group_by('b').agg(pl.col('a').sum()).height)\n"
        "from sklearn.ensemble import RandomForestRegressor\n"
        "x = np.arange(200.0).reshape(-1, 1)\n"
        "model = RandomForestRegressor(8, n_jobs=2, random_state=0).fit(x, x[:, 0])\n"
        "print(round(float(model.predict(x[:1])[0]) < 5))",
    )
    record = run(path, place, warm)
    assert record.complete, record.closed
    assert printed(record).split() == ["7", "1"]


@pytest.mark.parametrize(
    ("source", "options", "cause"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", {}, "killed"),
        ("while True: pass", {"timeout_s": 5.0}, "timeout"),
        ("held = bytearray(3 << 30)", {"memory_bytes": 2 << 30}, "out of memory"),
        ("1 / 0", {}, "cell error"),
    ],
)
def test_a_warm_run_that_fails_has_its_cause_and_leaves_no_process(
    source, options, cause, tmp_path, place, warm
):
    path = notebook(tmp_path, "import os\nprint(os.getpid())", source)
    record = run(path, place, warm, **options)
    assert record.closed.cause == cause, record.closed
    text = Path(record.executed).read_text() if record.executed else ""
    pids = [
        int(word) for word in text.replace("\\n", " ").replace('"', " ").split() if word.isdigit()
    ]
    assert all(gone(pid) for pid in pids if pid > 1000 and pid != os.getpid())
    assert warm.process.poll() is None


def sleeping_child(address, folder):
    with Path(os.devnull).open("r+b") as nothing:
        return fork(
            str(address),
            "timeit",
            ["-n", "1", "-r", "1", "import time; time.sleep(600)"],
            env=dict(os.environ),
            cwd=str(folder),
            files={0: nothing.fileno(), 1: nothing.fileno(), 2: nothing.fileno()},
        )


def test_a_lease_that_closes_takes_its_process_along(tmp_path, warm):
    leased = sleeping_child(warm.address, tmp_path)
    assert leased.poll() is None
    assert alive(leased.pid)
    leased.release()
    assert gone(leased.pid)


def test_an_edited_module_brings_a_new_parent(monkeypatch, tmp_path, place, warm):
    old = warm.process
    path = notebook(tmp_path, "print(level)")
    monkeypatch.setattr(module, "imported_code", lambda: "edited meanwhile")
    caller = threading.Thread(target=run, args=(path, place, warm))
    caller.start()
    caller.join()  # a parent that was started for it outlives the thread
    assert run(path, place, warm).complete
    assert warm.process.pid != old.pid
    assert warm.process.poll() is None
    assert old.poll() is None, "runs of the old parent must come to their end"
    monkeypatch.setattr(warm, "code", "as it was")
    monkeypatch.setattr(module, "imported_code", lambda: "as it was")


def test_the_hash_of_the_code_sees_an_edit(tmp_path, monkeypatch):
    source = tmp_path / "pipelines" / "runs" / "warm.py"
    source.parent.mkdir(parents=True)
    source.write_text("a = 1")
    monkeypatch.setattr(module, "__file__", str(source))
    before = hash_of_the_code()
    assert hash_of_the_code() == before
    source.write_text("a = 10")
    assert hash_of_the_code() != before


def test_a_parent_with_two_threads_refuses_to_serve(tmp_path):
    program = (
        "import sys, threading, time\n"
        "from pipelines.runs import zygote\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "zygote.preload = lambda: ([], set())\nzygote.warm_up = lambda: None\n"
        f"sys.exit(zygote.main({str(tmp_path / 'socket')!r}))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=300, check=False
    )
    assert ended.returncode == 3
    assert b'"threads": 2' in ended.stdout
    assert not (tmp_path / "socket").exists()


def test_a_parent_in_which_a_thread_starts_later_refuses_and_lets_its_kernels_be(tmp_path):
    program = (
        "import os, sys, threading, time\n"
        "from pipelines.runs import zygote\n"
        "class Late(zygote._Zygote):\n"
        "    def _tell(self, connection, answer):\n"
        "        super()._tell(connection, answer)\n"
        "        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "zygote.preload = lambda: ([], set())\nzygote.warm_up = lambda: None\n"
        "zygote._Zygote = Late\n"
        f"sys.exit(zygote.main({str(tmp_path / 'socket')!r}))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert b"threads" in parent.stdout.readline()
        assert b"serving" in parent.stdout.readline()
        first = sleeping_child(tmp_path / "socket", tmp_path)
        with pytest.raises(WarmRefused, match="a thread has started in it"):
            sleeping_child(tmp_path / "socket", tmp_path)
        assert first.poll() is None
        assert alive(first.pid)
        first.release()
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def test_polars_may_spill_to_disk_in_a_warm_kernel(tmp_path, place, warm):
    path = notebook(
        tmp_path,
        "import os\nos.environ |= {'POLARS_OOC_MEMORY_BUDGET_MB': '1', 'POLARS_TEMP_DIR': '.'}\n"
        "import polars as pl\n"
        "frame = pl.LazyFrame({'a': range(150_000)}).with_columns(b=pl.col('a') % 7)\n"
        "print(frame.sort('b', 'a').collect(engine='streaming').height)\n"
        "print(frame.group_by('b').agg(pl.len()).collect().height)",
    )
    record = run(path, place, warm)
    assert record.complete, record.closed
    assert printed(record).split() == ["150000", "7"]


def test_many_runs_two_at_a_time_keep_their_order_and_one_failure_to_itself(tmp_path, place, warm):
    path = notebook(tmp_path, "import time\ntime.sleep(0.2 * (3 - level))\nprint(10 // level)")
    ended = []
    records = run_many(
        path,
        [{"level": level} for level in (1, 2, 0, 3)],
        place,
        clock=WallClock(),
        warm=warm,
        on_run=ended.append,
        environ=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert [record.parameters["level"] for record in records] == [1, 2, 0, 3]
    assert [record.complete for record in records] == [True, True, False, True]
    assert "ZeroDivisionError" in records[2].closed.message
    assert [printed(records[i]).strip() for i in (0, 1, 3)] == ["10", "5", "3"]
    assert len({record.run for record in records}) == len(ended) == 4


def test_when_the_parent_dies_its_runs_end_and_are_told_so(tmp_path, place, warm):
    path = notebook(tmp_path, "import time\ntime.sleep(1800)")

    def kill_at_the_long_cell(step):
        if step.cell == 1:
            os.kill(warm.process.pid, signal.SIGKILL)  # last of all: no test has it after this

    record = run(path, place, warm, on_progress=kill_at_the_long_cell)
    assert record.closed.cause == "killed", record.closed
    with pytest.raises(WarmRefused, match="does not answer"):
        run(path, place, warm)
