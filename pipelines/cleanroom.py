"""What the definition cells of a notebook may bring along: nothing that the ledger cannot see.

A trial is its parameters, its strategy cell and the data snapshot. So the cells tagged parameters,
study and strategy may import a short list of libraries, read no file and no network, and the
strategy cell may use no value that another cell computed. Market data has one door, the store;
what is learnt from it is rebuilt by the look-ahead gate with the future cut off.
"""

import ast
import builtins
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, ModuleType

from pipelines.errors import StrategyInvalid
from pipelines.study import Study

LIBRARIES = frozenset(
    {"__future__", "collections", "dataclasses", "datetime", "decimal", "enum", "functools"}
    | {"itertools", "math", "typing", "numpy", "sklearn", "lightgbm", "xgboost"}
    | {"pipelines", "featurestore"}
)
_CLOSED = (
    *("sklearn.datasets", "featurestore.sources", "featurestore.lake", "featurestore.seals"),
    *("featurestore.online", "featurestore.frontier_files"),
)
# What lies behind the store's face, by whatever module or object it is reached.
_BEHIND = frozenset({"lake", "Lake", "Opening", "open_online", "FrontierFiles"})
_READERS = frozenset(
    {"open", "eval", "exec", "compile", "__import__", "input", "globals", "vars", "getattr"}
    | {"load", "loadtxt", "genfromtxt", "fromfile", "memmap", "fromregex", "DataSource"}
)
_DATA_FILES = (
    *(".csv", ".gz", ".parquet", ".feather", ".arrow", ".pkl", ".pickle", ".joblib"),
    *(".npy", ".npz", ".h5", ".xlsx", ".db", ".sqlite"),
)
MOST_CONSTANTS = 64  # values that decide may carry along; a table of data is no constant
_REMEDY = "declare what a decision needs as inputs of the feature store, or as parameters"

_inside = threading.local()


def check_source(source: str, where: str) -> None:
    """Refuse imports and readers through which data could come in past the store.

    Args:
        source: of one definition cell.
        where: how messages call it.

    Raises:
        StrategyInvalid: naming the line and what it reaches for. A cell that does not parse is
            left to who executes it.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for module in _imported(node):
            root = module.partition(".")[0]
            closed = any(module == name or module.startswith(f"{name}.") for name in _CLOSED)
            closed = closed or module.rpartition(".")[2] in _BEHIND
            if root not in LIBRARIES or closed:
                raise StrategyInvalid(
                    f"{where}, line {line}: imports {module}; a definition cell may import "
                    f"{', '.join(sorted(LIBRARIES - {'__future__'}))}. {_REMEDY.capitalize()}"
                )
        name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", None)
        if name in _READERS and isinstance(node, ast.Name | ast.Attribute):
            raise StrategyInvalid(
                f"{where}, line {line}: {name} could bring data past the store; {_REMEDY}"
            )
        if isinstance(node, ast.Attribute) and node.attr in _BEHIND:
            raise StrategyInvalid(
                f"{where}, line {line}: {node.attr} reaches behind the store's face, past the "
                f"seal; {_REMEDY}"
            )


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = "." * node.level + (node.module or "")
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def check_names(
    loaded: Collection[str],
    namespace: Mapping[str, object],
    *,
    defined: Collection[str],
    parameters: Mapping[str, object],
) -> None:
    """Refuse a strategy cell that uses a value which another cell computed.

    Args:
        loaded: names the cell looks up at its top level.
        namespace: where they are looked up.
        defined: names the cell itself binds.
        parameters: the strategy's.

    Raises:
        StrategyInvalid: naming the value that no ledger would count.
    """
    for name in sorted(set(loaded) - set(defined) - set(parameters)):
        if name not in namespace or hasattr(builtins, name) or name.startswith("__"):
            continue
        value = namespace[name]
        if not _of_a_library(value):
            raise StrategyInvalid(
                f"the strategy cell uses {name}, a {type(value).__name__} that another cell made, "
                f"so that no ledger would count it; make it a parameter or define it in the cell"
            )


def _of_a_library(value: object) -> bool:
    """Say whether a name stands for a study or for something imported, not for a result."""
    if isinstance(value, Study):
        return True
    if isinstance(value, ModuleType):
        return value.__name__.partition(".")[0] in LIBRARIES
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return str(value.__module__).partition(".")[0] in LIBRARIES | {"builtins"}
    return False


def check_constants(name: str, value: object) -> None:
    """Refuse a constant that is a table; StrategyInvalid says how many values it holds."""
    count = _count(value)
    if count > MOST_CONSTANTS:
        raise StrategyInvalid(
            f"decide carries {name} along, a table of {count} values; at most {MOST_CONSTANTS} are "
            f"constants. What is learnt from data belongs in a declared model or input"
        )


def _count(value: object) -> int:
    if isinstance(value, dict):
        return sum(_count(key) + _count(item) for key, item in value.items())
    if isinstance(value, tuple | list | set | frozenset):
        return sum(_count(item) for item in value)
    if isinstance(value, str | bytes):
        return 1 + len(value) // 32
    size = getattr(value, "size", 1)
    return size if isinstance(size, int) else 1


@contextmanager
def closed_room() -> Iterator[None]:
    """Run a definition cell: data files and the network are out of reach in this thread.

    The audit hook is a second line behind `check_source`; libraries may still load their code.
    """
    _install()
    depth = getattr(_inside, "depth", 0)
    _inside.depth = depth + 1
    try:
        yield
    finally:
        _inside.depth = depth


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if not getattr(_inside, "depth", 0):
        return
    if event == "open" and arguments and str(arguments[0]).lower().endswith(_DATA_FILES):
        raise StrategyInvalid(f"a definition cell reads the file {arguments[0]}; {_REMEDY}")
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        raise StrategyInvalid(f"a definition cell reaches for the network; {_REMEDY}")


_lock = threading.Lock()
_installed = False


def _install() -> None:
    """Add the audit hook once per process; hooks cannot be removed."""
    global _installed
    with _lock:
        if not _installed:
            sys.addaudithook(_refuse)
            _installed = True
