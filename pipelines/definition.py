"""The definition of a notebook: its parameters, study and strategy cells, run without a kernel.

A sweep evaluates hundreds of configurations of one notebook. Only the three cells that define a
trial are executed, in a fresh namespace; plots and prose are for people.
"""

import hashlib
import linecache
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featurestore.errors import PlatformError
from pipelines.cleanroom import check_source, closed_room
from pipelines.errors import NotebookInvalid, StrategyInvalid
from pipelines.purity import decide_source, normal_form
from pipelines.runs.parameters import cell_source, declared_parameters, read_notebook, validated
from pipelines.shape import shape_hash
from pipelines.strategy import Model, Strategy
from pipelines.study import Parameter, Study

DEFINITION_TAGS = ("parameters", "study", "strategy")
# What a recorded trial depends on besides its cell: raised when the backtest's arithmetic changes.
BACKTEST_VERSION = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One configuration, ready to be evaluated."""

    study: Study
    strategy: Strategy
    code_hash: str  # SHA-256 of the strategy cell, hex
    shape_hash: str  # of the same cell without names and numbers, hex
    decide_cell: int  # 0-based index of the notebook cell that decides; -1 in a live kernel
    notebook: str  # path as it was given; empty in a live kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedCell:
    """A code cell that belongs to the definition."""

    index: int  # 0-based position in the notebook
    source: str


def load_definition(notebook: Path | str, parameters: Mapping[str, Parameter]) -> Definition:
    """Execute a notebook's definition cells with the given parameters.

    Args:
        notebook: path of the .ipynb file.
        parameters: values that replace the defaults of the parameters cell; may be partial.

    Returns:
        Study and strategy as the cells built them.

    Raises:
        NotebookInvalid: a tagged cell is missing, fails, or leaves no `study` or `strategy`.
        ParameterInvalid: a parameter is not declared, or has another type.
        StudyInvalid, StrategyInvalid: the declarations contradict themselves, or a cell reaches
            past the store.
    """
    path = Path(notebook)
    content = read_notebook(path)
    cells = definition_cells(content, path.name)
    declared = declared_parameters(content, path.name)
    for tag in ("study", "strategy"):
        check_source(cells[tag].source, f"{path.name} cell {cells[tag].index}")
    namespace: dict[str, Any] = {"__name__": "__notebook__"}
    namespace.update(validated(declared, parameters, path.name))
    execute_cell(cells["study"], f"{notebook} cell {cells['study'].index}", namespace)
    study = namespace.get("study")
    if not isinstance(study, Study):
        raise NotebookInvalid(f"{path.name}: the cell tagged study must leave a Study named study")
    execute_cell(cells["strategy"], f"{notebook} cell {cells['strategy'].index}", namespace)
    strategy = namespace.get("strategy")
    if not isinstance(strategy, Strategy):
        raise NotebookInvalid(
            f"{path.name}: the cell tagged strategy must leave a Strategy named strategy"
        )
    return Definition(
        study=study,
        strategy=strategy,
        code_hash=code_hash(cells["strategy"].source, strategy.models),
        shape_hash=shape_hash(cells["strategy"].source),
        decide_cell=cells["strategy"].index,
        notebook=str(notebook),
    )


def definition_of(study: Study, strategy: Strategy) -> Definition:
    """Return the definition that a live kernel holds: the same code hash as from the file.

    Raises:
        StrategyInvalid: the source of `decide` is not to be had, or it reaches past the store.
    """
    source = decide_source(strategy)
    check_source(source, "the strategy cell")
    return Definition(
        study=study,
        strategy=strategy,
        code_hash=code_hash(source, strategy.models),
        shape_hash=shape_hash(source),
        decide_cell=-1,
        notebook="",
    )


def code_hash(source: str, models: Mapping[str, Model] | None = None) -> str:
    """Return SHA-256 over a strategy cell, its models and the backtest's version, hex.

    A fitted model counts by its bytes; a declared one by everything that, beside cell and data,
    decides its bytes: settings, seed, and the learning library's version.
    """
    text = f"{BACKTEST_VERSION}\x1f{normal_form(source)}"
    for name, model in sorted((models or {}).items()):
        text += f"\x1f{name}\x1f{model.identity}"
    return hashlib.sha256(text.encode()).hexdigest()


def definition_cells(notebook: Mapping[str, Any], name: str) -> dict[str, TaggedCell]:
    """Find the tagged code cells of a notebook.

    Args:
        notebook: as `read_notebook` returns it.
        name: how messages call it.

    Returns:
        tag -> cell, for every tag in DEFINITION_TAGS.

    Raises:
        NotebookInvalid: a tag is on no code cell, or on several.
    """
    found: dict[str, list[TaggedCell]] = {tag: [] for tag in DEFINITION_TAGS}
    for index, cell in enumerate(notebook["cells"]):
        tags = cell.get("metadata", {}).get("tags", ())
        for tag in DEFINITION_TAGS:
            if cell.get("cell_type") == "code" and tag in tags:
                found[tag].append(TaggedCell(index=index, source=cell_source(cell)))
    for tag, tagged in found.items():
        if len(tagged) != 1:
            raise NotebookInvalid(
                f"{name}: exactly one code cell must be tagged {tag!r}, found {len(tagged)}; "
                f"add the tag in JupyterLab's property inspector"
            )
    return {tag: tagged[0] for tag, tagged in found.items()}


def execute_cell(cell: TaggedCell, name: str, namespace: dict[str, Any]) -> None:
    """Run one cell; its source is kept so that a traceback and the code hash can read it."""
    lines = (cell.source.rstrip("\n") + "\n").splitlines(keepends=True)
    linecache.cache[name] = (len(cell.source), None, lines, name)
    try:
        with closed_room():
            exec(compile("".join(lines), name, "exec"), namespace)
    except SyntaxError as error:
        raise NotebookInvalid(f"{name}, line {error.lineno}: {error.msg}") from error
    except PlatformError:
        raise
    except NameError as error:
        raise StrategyInvalid(
            f"{name}: {error}; the cells tagged parameters, study and strategy must stand alone"
        ) from error
    except Exception as error:
        raise NotebookInvalid(f"{name}: {type(error).__name__}: {error}") from error
