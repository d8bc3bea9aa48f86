"""Parameters: a closed, typed set; what does not fit is refused before anything starts."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import NotebookInvalid, ParameterInvalid
from pipelines.runs.notebooks import declared
from pipelines.runs.parameters import (
    cell_source,
    declared_parameters,
    parameters_from_text,
    read_notebook,
    validated,
    with_parameters,
)
from tests.fakes.notebook_files import write_notebook

CELL = """lookback = 126  # bars
skip: int = -5
rate: float = 1  # an int is taken for a float
name = 'größe "x"'; on = True
"""


def notebook(source: str) -> dict[str, object]:
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source}
    return {"cells": [{"cell_type": "markdown", "source": "text", "metadata": {}}, cell]}


def test_names_types_and_defaults_are_read_without_running_the_cell() -> None:
    known = declared_parameters(notebook(CELL), "n.ipynb")
    assert [(p.name, p.type, p.default, p.line) for p in known] == [
        ("lookback", int, 126, 1),
        ("skip", int, -5, 2),
        ("rate", float, 1.0, 3),
        ("name", str, 'größe "x"', 4),
        ("on", bool, True, 4),
    ]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("a = 1\nimport os", "line 2: `import os` is not `name = literal`"),
        ("a = 1\n\nb = a + 1", "line 3: b = a \\+ 1 is not an int, float, str or bool"),
        ("a = b = 1", "line 1: `a = b = 1` is not"),
        ("a, b = 1, 2", "line 1"),
        ("a = [1, 2]", "is not an int, float, str or bool literal"),
        ("a = None", "is not an int"),
        ("a = 1\na = 2", "line 2: a is set twice"),
        ("a: str = 1", "annotated str, but 1 is int"),
        ("a: int", "line 1"),
        ("%matplotlib inline", "line 1: invalid syntax"),
        ("a = f'{1}'", "is not an int"),
    ],
)
def test_anything_but_a_literal_is_refused_with_its_line(source: str, told: str) -> None:
    with pytest.raises(NotebookInvalid, match=told):
        declared_parameters(notebook(source), "n.ipynb")


def test_two_parameters_cells_are_refused(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "n.ipynb", [("parameters", "a = 1"), ("parameters", "b = 1")])
    with pytest.raises(NotebookInvalid, match="cells 0, 1 are all tagged"):
        declared(path)


def test_a_notebook_without_the_cell_declares_nothing(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "n.ipynb", ["1 + 1"])
    assert declared(path) == ()
    with pytest.raises(ParameterInvalid, match=r"n.ipynb has no parameter 'a'.* declares none"):
        validated((), {"a": 1}, "n.ipynb")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"not json"])
def test_a_file_that_is_no_notebook_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    with pytest.raises(NotebookInvalid, match=r"n\.ipynb is not a notebook"):
        read_notebook(path)
    with pytest.raises(NotebookInvalid, match="there is no notebook"):
        read_notebook(tmp_path / "absent.ipynb")


@pytest.mark.parametrize(
    ("given_values", "told"),
    [
        ({"lookbak": 1}, "no parameter 'lookbak'; did you mean lookback.*lookback: int = 126"),
        ({"zzz": 1}, "no parameter 'zzz'; n.ipynb declares lookback: int = 126; skip: int = -5"),
        ({"lookback = 1; import os": 1}, "is not a parameter name, names are never run as code"),
        ({"import": 1}, "'import' is not a parameter name"),
        ({"lookback": 1.0}, "lookback must be int .*was float 1.0"),
        ({"lookback": True}, "lookback must be int .*was bool True"),
        ({"lookback": "126"}, "lookback must be int .*was str '126'"),
        ({"lookback": None}, "lookback must be int .*was NoneType"),
        ({"on": 1}, "on must be bool"),
        ({"rate": float("nan")}, "rate must be finite"),
    ],
)
def test_what_does_not_fit_is_named_and_the_declared_ones_are_listed(
    given_values: dict[str, object], told: str
) -> None:
    with pytest.raises(ParameterInvalid, match=told):
        validated(declared_parameters(notebook(CELL), "n.ipynb"), given_values, "n.ipynb")


def test_given_values_replace_defaults_and_an_int_serves_as_a_float() -> None:
    values = validated(declared_parameters(notebook(CELL), "n"), {"rate": 2, "skip": 0}, "n")
    assert values == {"lookback": 126, "skip": 0, "rate": 2.0, "name": 'größe "x"', "on": True}
    assert type(values["rate"]) is float


def test_texts_are_read_by_the_declared_types() -> None:
    known = declared_parameters(notebook(CELL), "n")
    texts = ["lookback=63", "rate=0.5", "name=a=b", "on=no"]
    assert parameters_from_text(known, texts, "n") == {
        "lookback": 63,
        "rate": 0.5,
        "name": "a=b",
        "on": False,
    }
    for wrong in ("lookback=6.5", "on=perhaps", "rate=inf", "lookbak=1", "lookback"):
        with pytest.raises(ParameterInvalid):
            parameters_from_text(known, [wrong], "n")


@given(
    lookback=st.integers(-(10**9), 10**9),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    name=st.text(st.characters(exclude_categories=("Cs",))),
    on=st.booleans(),
)
def test_written_values_read_back_equal_and_nothing_else_changes(
    lookback: int, rate: float, name: str, on: bool
) -> None:
    original = notebook(CELL)
    known = declared_parameters(original, "n")
    values = {"lookback": lookback, "skip": -5, "rate": rate, "name": name, "on": on}
    source = cell_source(with_parameters(original, known, values)["cells"][1])
    namespace: dict[str, object] = {}
    for node in ast.parse(source).body:
        assert isinstance(node, ast.Assign | ast.AnnAssign)
        assert ast.literal_eval(node.value or ast.Constant(0)) is not None
    exec(source, namespace)
    assert {key: namespace[key] for key in values} == values
    assert "# bars" in source
    assert "# an int is taken for a float" in source
    assert cell_source(original["cells"][1]) == CELL
