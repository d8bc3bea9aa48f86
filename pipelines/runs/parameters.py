"""A notebook's parameters: a closed, typed set, read from its tagged cell without running it."""

import ast
import difflib
import keyword
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pipelines.errors import NotebookInvalid, ParameterInvalid
from pipelines.ledger.records import Value

TAG = "parameters"
_TYPES: tuple[type, ...] = (bool, int, float, str)
_WORDS = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredParameter:
    """One parameter: its name, its type by the default's literal, and where it stands."""

    name: str
    default: Value
    line: int  # 1-based, in the parameters cell
    span: tuple[int, int, int, int]  # first line, first byte, last line, last byte of the literal

    @property
    def type(self) -> type[int] | type[float] | type[str]:
        """Return int, float, str or bool."""
        return type(self.default)

    def __str__(self) -> str:
        return f"{self.name}: {self.type.__name__} = {self.default!r}"


def read_notebook(path: Path) -> dict[str, Any]:
    """Return a notebook file as plain JSON values.

    Raises:
        NotebookInvalid: the file is missing or is not a notebook of format 4.
    """
    try:
        content: Any = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        raise NotebookInvalid(f"there is no notebook {path}") from None
    except (msgspec.DecodeError, IsADirectoryError) as error:
        raise NotebookInvalid(f"{path} is not a notebook: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise NotebookInvalid(f"{path} is not a notebook of format 4: it has no cells")
    return content


def cell_source(cell: Mapping[str, Any]) -> str:
    """Return a cell's source as one text."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def parameters_cell(notebook: Mapping[str, Any], name: str) -> tuple[int, str] | None:
    """Return index and source of the cell tagged `parameters`, None if there is none.

    Raises:
        NotebookInvalid: several cells carry the tag.
    """
    found = [
        (index, cell_source(cell))
        for index, cell in enumerate(notebook["cells"])
        if cell.get("cell_type") == "code" and TAG in cell.get("metadata", {}).get("tags", ())
    ]
    if len(found) > 1:
        cells = ", ".join(str(index) for index, _ in found)
        raise NotebookInvalid(f"{name}: cells {cells} are all tagged {TAG!r}; one may be")
    return found[0] if found else None


def declared_parameters(notebook: Mapping[str, Any], name: str) -> tuple[DeclaredParameter, ...]:
    """Read the declared parameters; nothing of the notebook is run.

    Args:
        notebook: as `read_notebook` returns it.
        name: how messages call it.

    Raises:
        NotebookInvalid: the cell holds anything but `name = literal`; the text names the line.
    """
    found = parameters_cell(notebook, name)
    if found is None:
        return ()
    index, source = found
    where = f"{name}, parameters cell {index}"
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise NotebookInvalid(
            f"{where}, line {error.lineno}: {error.msg}; only `name = literal` may stand here"
        ) from None
    declared: dict[str, DeclaredParameter] = {}
    for node in body:
        parameter = _declared(node, where)
        if parameter.name in declared:
            raise NotebookInvalid(f"{where}, line {node.lineno}: {parameter.name} is set twice")
        declared[parameter.name] = parameter
    return tuple(declared.values())


def _declared(node: ast.stmt, where: str) -> DeclaredParameter:
    """Return the parameter a statement declares."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            annotation = None
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value, annotation=note):
            annotation = ast.unparse(note)
        case _:
            raise NotebookInvalid(
                f"{where}, line {node.lineno}: `{ast.unparse(node).splitlines()[0]}` is not "
                "`name = literal`; move code to another cell"
            )
    try:
        default = ast.literal_eval(value)
    except ValueError:
        default = None
    if type(default) not in _TYPES:
        raise NotebookInvalid(
            f"{where}, line {node.lineno}: {name} = {ast.unparse(value)} is not an int, float, str "
            "or bool literal"
        )
    if annotation is not None and annotation != type(default).__name__:
        if (annotation, type(default)) != ("float", int):
            raise NotebookInvalid(
                f"{where}, line {node.lineno}: {name} is annotated {annotation}, "
                f"but {default!r} is {type(default).__name__}"
            )
        default = float(default)
    assert value.end_lineno is not None
    assert value.end_col_offset is not None
    span = (value.lineno, value.col_offset, value.end_lineno, value.end_col_offset)
    return DeclaredParameter(name=name, default=default, line=node.lineno, span=span)


def validated(
    declared: Sequence[DeclaredParameter], given: Mapping[str, object], name: str
) -> dict[str, Value]:
    """Return every declared parameter with its given value or its default.

    Args:
        declared: what the notebook declares.
        given: values by name; an int is taken for a float, nothing else is converted.
        name: how messages call the notebook.

    Raises:
        ParameterInvalid: a name that is code, misspelt or not declared, or a value of another
            type; the text names it and lists the declared ones.
    """
    by_name = {parameter.name: parameter for parameter in declared}
    for key in given:
        if key not in by_name:
            raise ParameterInvalid(_unknown(key, by_name, name))
    return {
        parameter.name: _checked(parameter, given[parameter.name], name)
        if parameter.name in given
        else parameter.default
        for parameter in declared
    }


def _unknown(key: object, by_name: Mapping[str, DeclaredParameter], name: str) -> str:
    listed = "; ".join(str(parameter) for parameter in by_name.values()) or "none"
    declares = f"{name} declares {listed}"
    if not isinstance(key, str) or not key.isidentifier() or keyword.iskeyword(key):
        return f"{key!r} is not a parameter name, names are never run as code. {declares}"
    near = difflib.get_close_matches(key, by_name, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name} has no parameter {key!r}; {hint}{declares}"


def _checked(parameter: DeclaredParameter, value: object, name: str) -> Value:
    if parameter.type is float and type(value) is int:
        value = float(value)
    if type(value) is not parameter.type or not isinstance(value, (int, float, str)):
        raise ParameterInvalid(
            f"{name}: {parameter.name} must be {parameter.type.__name__} (default "
            f"{parameter.default!r}), was {type(value).__name__} {value!r}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterInvalid(f"{name}: {parameter.name} must be finite, was {value}")
    return value


def parameters_from_text(
    declared: Sequence[DeclaredParameter], given: Iterable[str], name: str
) -> dict[str, Value]:
    """Read `name=value` texts, as a command line gives them, by the declared types.

    Returns:
        The given ones only; pass them to `run_notebook`.

    Raises:
        ParameterInvalid: no equals sign, an unknown name, or a value of another type.
    """
    by_name = {parameter.name: parameter for parameter in declared}
    read: dict[str, Value] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise ParameterInvalid(f"{text!r} must read name=value")
        if key not in by_name:
            raise ParameterInvalid(_unknown(key, by_name, name))
        read[key] = _from_text(by_name[key], value, name)
    return read


def _from_text(parameter: DeclaredParameter, text: str, name: str) -> Value:
    try:
        if parameter.type is bool:
            return _WORDS[text.lower()]
        converted: int | float | str = parameter.type(text)
    except (ValueError, KeyError):
        raise ParameterInvalid(
            f"{name}: {parameter.name} must be {parameter.type.__name__} (default "
            f"{parameter.default!r}), was {text!r}"
        ) from None
    return _checked(parameter, converted, name)


def with_parameters(
    notebook: dict[str, Any], declared: Sequence[DeclaredParameter], values: Mapping[str, Value]
) -> dict[str, Any]:
    """Return the notebook with the literals of its parameters cell replaced.

    Cells keep their positions and the cell its comments; values are written as literals.
    """
    found = parameters_cell(notebook, "notebook")
    if found is None:
        return notebook
    index, source = found
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    # From the last to the first, so that earlier positions stay true.
    for parameter in sorted(declared, key=lambda one: one.span, reverse=True):
        if values[parameter.name] == parameter.default:
            continue
        first, start, last, end = parameter.span
        literal = repr(values[parameter.name]).encode()
        lines[first - 1 : last] = [lines[first - 1][:start] + literal + lines[last - 1][end:]]
    cells = list(notebook["cells"])
    cells[index] = cells[index] | {"source": b"".join(lines).decode()}
    return notebook | {"cells": cells}
