"""The cause of a failure follows from evidence, never from the output file."""

from pathlib import Path

import pytest

from pipelines.runs.cause import Ended, closed_by
from pipelines.runs.child import Event
from pipelines.runs.processes import child_environment, oom_kills, signal_name


def cause(tmp_path: Path, ended: Ended, log: str = "") -> tuple[str | None, str]:
    path = tmp_path / "log.txt"
    path.write_text(log)
    closed = closed_by(ended, seconds=1.0, log=path)
    assert closed.status == "failed"
    return closed.cause, closed.message


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (
            Ended(
                current=4, error=Event(event="error", cell=4, name="KeyError", text="a\n'close'")
            ),
            ("cell error", "cell 4 raised KeyError: 'close'"),
        ),
        (
            Ended(
                current=2,
                error=Event(event="error", cell=2, name="_ArrayMemoryError", text="no"),
                memory_limit=2**30,
            ),
            ("out of memory", "cell 2 raised _ArrayMemoryError: no; the limit is 1024 MiB"),
        ),
        (
            Ended(current=1, dead=Event(event="dead", returncode=-9)),
            ("killed", "the kernel ended by signal 9 (SIGKILL) in cell 1"),
        ),
        (
            Ended(current=1, dead=Event(event="dead", returncode=-9), oom_killed=True),
            (
                "out of memory",
                "the kernel ended by signal 9 (SIGKILL) in cell 1 for want of memory",
            ),
        ),
        (
            Ended(current=0, timed_out=30.0),
            ("timeout", "not finished after 30 s, stopped in cell 0"),
        ),
        (
            Ended(current=3, child_code=-9),
            ("killed", "the papermill process ended by signal 9 (SIGKILL) in cell 3"),
        ),
        (
            Ended(current=3, interrupted=True),
            ("killed", "the run was interrupted in cell 3"),
        ),
    ],
)
def test_each_kind_of_end_has_its_cause(
    tmp_path: Path, ended: Ended, expected: tuple[str, str]
) -> None:
    assert cause(tmp_path, ended) == expected


def test_a_kernel_that_exits_by_itself_is_told_with_its_code(tmp_path: Path) -> None:
    told = cause(tmp_path, Ended(current=2, dead=Event(event="dead", returncode=3)))
    assert told[0] == "killed"
    assert told[1].startswith("the kernel ended by exit code 3 in cell 2, before the notebook")


def test_an_abort_after_a_failed_allocation_is_out_of_memory_only_under_a_limit(
    tmp_path: Path,
) -> None:
    log = "memory allocation of 4294967296 bytes failed\n"
    dead = Event(event="dead", returncode=-6)
    assert cause(tmp_path, Ended(current=1, dead=dead, memory_limit=2**30), log)[0] == (
        "out of memory"
    )
    assert cause(tmp_path, Ended(current=1, dead=dead), log)[0] == "killed"


def test_a_run_is_complete_only_if_papermill_said_so_and_no_cell_raised(tmp_path: Path) -> None:
    done = Ended(current=1, done=True, child_code=0)
    assert closed_by(done, seconds=1.0, log=tmp_path / "none").status == "complete"
    # papermill calls a notebook that calls sys.exit(0) a success; its later cells never ran
    exited = Ended(
        current=1,
        done=True,
        child_code=0,
        error=Event(event="error", cell=1, name="SystemExit", text="0"),
    )
    assert closed_by(exited, seconds=1.0, log=tmp_path / "none").cause == "cell error"


def test_children_inherit_no_secret_and_sum_on_one_thread() -> None:
    environ = {"PATH": "/bin", "BROKER_TOKEN": "s3cret", "SLUICE_LAKE_URL": "lake", "LC_ALL": "C"}
    child = child_environment({"SLUICE_RUN": "r"}, environ)
    assert "BROKER_TOKEN" not in child
    assert child["SLUICE_RUN"] == "r"
    assert (child["PATH"], child["SLUICE_LAKE_URL"], child["LC_ALL"]) == ("/bin", "lake", "C")
    assert child["OMP_NUM_THREADS"] == child["OPENBLAS_NUM_THREADS"] == "1"


def test_memory_kills_are_counted_from_what_the_machine_tells(tmp_path: Path) -> None:
    assert oom_kills(tmp_path) == 0
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("pgfault 5\noom_kill 3\n")
    assert oom_kills(tmp_path) == 3


def test_signals_are_named() -> None:
    assert signal_name(-11) == "signal 11 (SIGSEGV)"
    assert signal_name(2) == "exit code 2"
