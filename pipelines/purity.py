"""What a decision function may refer to: its inputs, its parameters and its own cell.

Anything else it reads would be a degree of freedom that no ledger counts, or a fact that the
runtime does not have.
"""

import ast
import builtins
import dis
import linecache
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType

from pipelines.cleanroom import check_constants, check_names
from pipelines.errors import StrategyInvalid
from pipelines.models.declared import Trained
from pipelines.strategy import Strategy

_ALLOWED_MODULES = frozenset({"math"})
_REFUSED_BUILTINS = frozenset(
    {"open", "input", "print", "eval", "exec", "compile", "globals", "locals", "vars"}
    | {"__import__", "breakpoint", "id", "hash", "setattr", "delattr"}
)
_REMEDY = "decide may use xp, its inputs, its parameters and what its own cell defines"


def decide_source(strategy: Strategy) -> str:
    """Return the source of the cell that defines `decide`, in its normal form.

    Raises:
        StrategyInvalid: `decide` is no Python function, or its source is not to be had.
    """
    decide = _function(strategy)
    lines = linecache.getlines(decide.__code__.co_filename)
    if not lines:
        raise StrategyInvalid(
            "the source of decide is not to be had; define it in a notebook cell or a file"
        )
    return normal_form("".join(lines))


def normal_form(source: str) -> str:
    """Return the source without white space at line ends and at both ends."""
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def check_purity(strategy: Strategy) -> None:
    """Refuse a decision function that reads more than it declares.

    Args:
        strategy: with a `decide` written in one cell or file.

    Raises:
        StrategyInvalid: naming what decide refers to and what it may use instead.
    """
    decide = _function(strategy)
    source = decide_source(strategy)
    defined = _assigned_names(source)
    _check_cell(source, defined, decide, strategy.parameters)
    home, seen = decide.__code__.co_filename, set[CodeType]()
    _check_function(decide, home, defined, strategy.parameters, seen)
    for name, model in strategy.models.items():
        if isinstance(model, Trained):
            features = model.features
            if not isinstance(features, FunctionType) or features.__code__.co_filename != home:
                raise StrategyInvalid(
                    f"the features of model {name!r} must be a function of the strategy's own "
                    f"cell, so that the trial's code hash covers it"
                )
            _check_function(features, home, defined, strategy.parameters, seen)


def _function(strategy: Strategy) -> FunctionType:
    if not isinstance(strategy.decide, FunctionType):
        raise StrategyInvalid(
            f"decide must be a plain function, was {type(strategy.decide).__name__}"
        )
    return strategy.decide


def _check_cell(
    source: str,
    defined: frozenset[str],
    decide: FunctionType,
    parameters: Mapping[str, object],
) -> None:
    """Refuse a cell that builds the strategy from values that no ledger counts."""
    cell = compile(source, decide.__code__.co_filename, "exec")
    instructions = list(dis.get_instructions(cell))
    loaded = {str(i.argval) for i in instructions if i.opname == "LOAD_NAME"}
    bound = {str(i.argval) for i in instructions if i.opname == "STORE_NAME"}
    known = decide.__globals__
    inner = {name for code in _nested(cell) for name in _looked_up(code)}
    check_names(loaded | inner, known, defined=defined | bound, parameters=parameters)
    for name in sorted((loaded | set(_global_names(decide))) & set(parameters)):
        if known.get(name, parameters[name]) != parameters[name]:
            raise StrategyInvalid(
                f"{name} is {known[name]!r} now but {parameters[name]!r} in the strategy; "
                f"run the strategy cell again"
            )


def _check_function(
    function: FunctionType,
    home: str,
    defined: frozenset[str],
    parameters: Mapping[str, object],
    seen: set[CodeType],
) -> None:
    """Check one function and every function of the same cell that it calls."""
    if function.__code__ in seen:
        return
    seen.add(function.__code__)
    captured = {
        name: cell.cell_contents
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        )
    }
    for value in captured.values():
        if isinstance(value, FunctionType):
            _check_function(value, home, defined, parameters, seen)
    carried = {"a default": function.__defaults__ or (), **captured}
    carried |= {"a literal": function.__code__.co_consts, **(function.__kwdefaults__ or {})}
    for name, value in carried.items():
        check_constants(name, value)
    for name in _global_names(function):
        if name not in function.__globals__:
            if name in _REFUSED_BUILTINS:
                raise StrategyInvalid(f"{function.__name__} calls {name}(); {_REMEDY}")
            if hasattr(builtins, name):
                continue
            raise StrategyInvalid(
                f"{function.__name__} reads {name!r}, which is not defined; {_REMEDY}"
            )
        value = function.__globals__[name]
        if isinstance(value, ModuleType):
            if value.__name__ not in _ALLOWED_MODULES:
                raise StrategyInvalid(
                    f"{function.__name__} uses the module {value.__name__}; {_REMEDY}: "
                    f"no clock, no file, no network, no random number, and xp instead of numpy"
                )
        elif isinstance(value, FunctionType) and value.__code__.co_filename == home:
            _check_function(value, home, defined, parameters, seen)
        elif name not in parameters and name not in defined:
            raise StrategyInvalid(
                f"{function.__name__} reads {name!r}, which is neither a parameter nor defined in "
                f"the strategy cell, so that no ledger would count it; {_REMEDY}"
            )
        elif callable(value):
            raise StrategyInvalid(
                f"{function.__name__} calls {name!r}, which comes from elsewhere; {_REMEDY}"
            )
        else:
            check_constants(name, value)


def _global_names(function: FunctionType) -> Iterator[str]:
    """Yield the names a function looks up outside itself, nested functions included."""
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))
        for instruction in dis.get_instructions(code):
            if instruction.opname in ("IMPORT_NAME", "IMPORT_FROM"):
                raise StrategyInvalid(
                    f"{function.__name__} imports {instruction.argval}; {_REMEDY}"
                )
            if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                raise StrategyInvalid(
                    f"{function.__name__} changes the global {instruction.argval!r}; "
                    f"a decision leaves no trace"
                )
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                yield str(instruction.argval)


def _nested(code: CodeType) -> Iterator[CodeType]:
    """Yield every code object inside another one: functions and comprehensions of a cell."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested(constant)


def _looked_up(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)


def _assigned_names(source: str) -> frozenset[str]:
    """Return the names that a cell binds at its top level."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                names.update(n.id for n in ast.walk(target) if isinstance(n, ast.Name))
    return frozenset(names)
