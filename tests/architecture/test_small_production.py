"""Production stays small: what importing the live platform really loads, in a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESEARCH = {
    *("pandas", "scipy", "sklearn", "vectorbt", "optuna", "papermill", "matplotlib", "numba"),
    *("pyarrow", "ndonnx", "spox", "nbformat", "nbclient", "exchange_calendars", "skfolio", "arch"),
    *("plotly", "IPython", "lightgbm"),
}
IMPORT_ALL = """
import importlib, json, sys
culprits = {}
known = set()
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
    roots = {module.split(".")[0] for module in sys.modules}
    culprits[name] = sorted(roots - known)
    known |= roots
print(json.dumps(culprits))
"""


def modules(*floors: str) -> list[str]:
    """Every module below the floors, by dotted name."""
    found = []
    for floor in floors:
        for path in sorted((ROOT / floor).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if not name.startswith("service.research") and parts[-1] != "__main__":
                found.append(name)
    return found


def loaded_by(names: list[str]) -> dict[str, list[str]]:
    """For each module, imported one after the other, the top-level packages that it brought in."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, json.dumps(names)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize(
    ("floors", "never"),
    [
        (("featurestore",), RESEARCH | {"runtime", "pipelines", "service"}),
        (("runtime",), RESEARCH | {"pipelines", "service"}),
        (("service",), RESEARCH | {"pipelines"}),
    ],
)
def test_importing_a_floor_never_loads_the_research_stack(floors, never):
    names = modules(*floors)
    assert names
    intruders = {
        name: sorted(never.intersection(new))
        for name, new in loaded_by(names).items()
        if never.intersection(new)
    }
    assert intruders == {}


def test_the_live_service_is_put_together_without_numpy():
    """It answers before it needs an array; numpy would be a tenth of its start."""
    names = ["service.app", "service.wiring", "service.commands.serve"]
    brought = {package for new in loaded_by(names).values() for package in new}
    assert "numpy" not in brought
    assert {"litestar", "sqlalchemy", "runtime"} <= brought


def test_the_engine_is_imported_without_polars():
    """Polars starts a thread and costs 0.35 s; the runtime loads it when the first row is read."""
    brought = {package for new in loaded_by(["runtime.engine"]).values() for package in new}
    assert "polars" not in brought
    assert "runtime" in brought
