"""Child processes of research: their environment, their end with us, what ended them."""

import ctypes
import os
import signal
from collections.abc import Mapping
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
# What a kernel or worker may inherit; secrets of the caller stay with the caller.
_INHERITED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_INHERITED_PREFIXES = ("LC_", "PYTHON", "JUPYTER_", "SLUICE_", "COVERAGE_")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_SILENT = "ORT_DISABLE_TELEMETRY"  # onnxruntime would start a thread that uploads what it loads


def child_environment(
    extra: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return a child's environment: an allow-list of ours, one thread for sums, and `extra`.

    onnxruntime reports nothing from there, also to who imports it without us.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }
    return kept | dict.fromkeys(_ONE_THREAD, "1") | {_SILENT: "1"} | dict(extra)


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it ends; elsewhere do nothing."""
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def kill_group(leader: int) -> None:
    """Kill a process group at once; one that is gone is no error."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def kill_marked(marks: Mapping[str, str], proc: Path = Path("/proc")) -> int:
    """Kill every process whose environment holds all the marks; return how many there were.

    A notebook may have started programs in sessions of their own; the marks in their inherited
    environment still tell whose they are.
    """
    wanted = {f"{name}={value}".encode() for name, value in marks.items()}
    killed = 0
    for entry in filter(str.isdigit, os.listdir(proc)):  # noqa: PTH208 (every process, every run)
        try:
            with open(f"{proc}/{entry}/environ", "rb") as file:  # noqa: PTH123
                held = set(file.read().split(b"\0"))
            if wanted <= held and int(entry) != os.getpid():
                os.kill(int(entry), signal.SIGKILL)
                killed += 1
        except OSError:
            continue  # gone meanwhile, or somebody else's
    return killed


def oom_kills(root: Path = Path("/")) -> int:
    """Return how many processes the kernel has killed for memory so far, 0 if it does not tell."""
    counters = [root / "proc/vmstat", root / "sys/fs/cgroup/memory.events"]
    total = 0
    for path in counters:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return total


def signal_name(returncode: int) -> str:
    """Return "signal 9 (SIGKILL)" for -9, "exit code 3" for 3."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
    return f"signal {-returncode} ({name})"
