"""Run every benchmarks/bench_*.py in a process of its own, print one table, write results.json.

A bench is a module with `run() -> list[dict]`; each dict has the keys of KEYS. `ratio` says how
many times better than the peer or limit we are in the same run: above 1 is better, in any unit.

    python -m benchmarks.run            all
    python -m benchmarks.run spa cscv   some; figures of the others stay as they are in the file
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
KEYS = ("name", "ours", "peer", "peer_name", "ratio", "unit")
TIMEOUT = 1200  # seconds per bench

Figure = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Run benches; return 0 if all ran."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description="Promises of speed.")
    parser.add_argument("names", nargs="*", help="benches to run, e.g. spa; all by default")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside is not None:  # the process that measures
        return _measure(options.names[0], options.inside)
    console = Console()
    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        console.print(f"no bench named {', '.join(unknown)}; there are: {', '.join(known)}")
        return 2
    figures, failed = _run_all(options.names or known, console)
    if options.names and options.results.exists():
        fresh = {figure["name"] for figure in figures}
        before = json.loads(options.results.read_text("utf-8"))
        figures = [*(one for one in before if one["name"] not in fresh), *figures]
    options.results.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    console.print(_table(figures))
    for name in failed:
        console.print(f"[red]{name} failed; its error is above[/red]")
    return 1 if failed else 0


def _run_all(names: Sequence[str], console: Console) -> tuple[list[Figure], list[str]]:
    """Run benches one after another, each in a fresh interpreter."""
    figures: list[Figure] = []
    failed = []
    for name in names:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, console.status(f"measuring {name}"):
            out = Path(folder) / "figures.json"
            command = [sys.executable, "-m", "benchmarks.run", name, "--inside", str(out)]
            try:
                ended = subprocess.run(command, cwd=HERE.parent, timeout=TIMEOUT, check=False)
                ran = ended.returncode == 0
            except subprocess.TimeoutExpired:
                console.print(f"{name}: no result within {TIMEOUT} s")
                ran = False
            if ran:
                figures += json.loads(out.read_text("utf-8"))
            else:
                failed.append(name)
        console.print(f"{name}: {time.perf_counter() - start:.1f} s")
    return figures, failed


def _measure(name: str, out: Path) -> int:
    """Run one bench in this process and leave its figures in a file."""
    figures = importlib.import_module(f"benchmarks.bench_{name}").run()
    for figure in figures:
        if sorted(figure) != sorted(KEYS):
            raise ValueError(f"bench_{name}: a figure has the keys {sorted(figure)}, not {KEYS}")
    out.write_text(json.dumps(figures), "utf-8")
    return 0


def _table(figures: Sequence[Figure]) -> Table:
    """Return one row per figure, worse than its peer in red."""
    table = Table(title="Ours beside a peer or limit, medians of the same run")
    table.add_column("what")
    for heading in ("ours", "peer"):
        table.add_column(heading, justify="right")
    table.add_column("unit")
    table.add_column("peer is")
    table.add_column("ratio", justify="right")
    for figure in figures:
        ours, peer, ratio = (figure[key] for key in ("ours", "peer", "ratio"))
        colour = "green" if ratio >= 1 else "red"
        table.add_row(
            figure["name"],
            f"{ours:,.4g}",
            f"{peer:,.4g}",
            figure["unit"],
            figure["peer_name"],
            f"[{colour}]{ratio:,.3g}[/{colour}]",
        )
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
