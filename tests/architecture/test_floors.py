"""Imports point down only: import-linter's contracts, and the files that it does not see."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("featurestore", "runtime", "pipelines", "service")
OURS = {*FLOORS, "notebooks", "hub", "helm", "tests", "benchmarks"}
NOTEBOOKS_MAY_IMPORT = {"pipelines", "featurestore"}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages of a folder."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def imported(source: str, where: str) -> set[str]:
    """Top-level names that Python source imports, by statement or by importlib."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source, where)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level else str(node.module))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            names |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
    return {name.split(".")[0] or "." for name in names}


def code_of(path: Path) -> str:
    """Python source of a script, or of all code cells of a notebook without their magics."""
    if path.suffix == ".py":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    lines = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def python_files(folder: Path) -> Iterator[Path]:
    """Scripts and notebooks of a folder; not what tools left there."""
    skipped = {"node_modules", ".ipynb_checkpoints", "__pycache__"}
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".py", ".ipynb"} and not skipped.intersection(path.parts):
            yield path


def test_every_contract_of_import_linter_is_kept():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_no_contract_has_an_exception():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert set(settings["root_packages"]) == set(FLOORS)
    layers = next(c for c in settings["contracts"] if c["type"] == "layers")
    assert layers["layers"] == ["service", "pipelines", "runtime", "featurestore"]
    for contract in settings["contracts"]:
        excused = [key for key in contract if key.startswith(("ignore", "unmatched", "allow_ind"))]
        assert excused == [], f"{contract['name']}: {excused}"
    assert not list(ROOT.glob(".importlinter*")), "contracts live in pyproject.toml alone"


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("featurestore/intruder.py", "import runtime.domain"),
        ("runtime/intruder.py", "def later() -> None:\n    import pandas"),
        ("runtime/intruder.py", "import pipelines.errors"),
        ("service/intruder.py", "import pipelines.errors"),
    ],
)
def test_the_contracts_catch_an_import_that_points_up_or_is_heavy(tmp_path, file, statement):
    for floor in FLOORS:
        shutil.copytree(
            ROOT / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / file).write_text(statement + "\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert Path(file).stem in done.stdout


def test_notebooks_import_pipelines_and_featurestore_only():
    found = list(python_files(ROOT / "notebooks"))
    assert found, "there are no notebooks"
    for path in found:
        strangers = imported(code_of(path), str(path)) & (OURS - NOTEBOOKS_MAY_IMPORT)
        assert not strangers, f"{path.relative_to(ROOT)} imports {sorted(strangers)}"


def test_hub_files_import_nothing_of_ours():
    found = list(python_files(ROOT / "hub"))
    assert found, "there are no hub files"
    for path in found:
        strangers = imported(code_of(path), str(path)) & (OURS | {"."})
        assert not strangers, f"{path.relative_to(ROOT)} imports {sorted(strangers)}"


def test_nobody_imports_the_outermost_floor():
    outermost = OURS - set(FLOORS)
    for floor in FLOORS:
        for path in python_files(ROOT / floor):
            strangers = imported(code_of(path), str(path)) & outermost
            assert not strangers, f"{path.relative_to(ROOT)} imports {sorted(strangers)}"


def test_imports_are_read_from_magic_cells_functions_and_importlib(tmp_path):
    cells = [
        {
            "cell_type": "code",
            "source": ["%matplotlib inline\n", "!ls\n", "import runtime.domain\n"],
        },
        {"cell_type": "markdown", "source": ["import hub"]},
        {"cell_type": "code", "source": ["def f():\n", "    import_module('service.app')\n"]},
    ]
    notebook = tmp_path / "x.ipynb"
    notebook.write_text(json.dumps({"cells": cells}))
    assert imported(code_of(notebook), "x") == {"runtime", "service"}
