"""What notebooks need is imported without what only other formats need."""

import importlib.util
import subprocess
import sys

import pytest

from pipelines.runs.lean import without_grammars


@pytest.fixture
def nothing_imported(monkeypatch):
    for name in ("jsonschema", "rfc3987_syntax"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_grammars_are_kept_out_for_as_long_as_asked(nothing_imported):
    with without_grammars(), pytest.raises(ImportError):
        importlib.import_module("rfc3987_syntax")
    assert "rfc3987_syntax" not in sys.modules
    assert importlib.util.find_spec("rfc3987_syntax") is not None


@pytest.mark.parametrize("name", ["jsonschema", "rfc3987_syntax"])
def test_whoever_has_them_already_keeps_them(nothing_imported, monkeypatch, name):
    here = object()
    monkeypatch.setitem(sys.modules, name, here)
    before = set(sys.modules)
    with without_grammars():
        assert set(sys.modules) == before
    assert sys.modules[name] is here


def test_papermill_comes_without_them():
    probe = "import sys; from pipelines.runs.lean import without_grammars as w\n"
    probe += "with w(): import papermill.execute\n"
    probe += "print('jsonschema' in sys.modules, 'rfc3987_syntax' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True", "False"]
