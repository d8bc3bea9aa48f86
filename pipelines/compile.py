"""From a decision function to its graph: trace once, serialise deterministically.

1. check that `decide` reads nothing but its inputs, parameters and cell (purity)
2. call it once with the tracer's array API and symbolic inputs of fixed shapes
3. check what it returned, and name the outputs score and weight
"""

import traceback
import warnings
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from pipelines.errors import ResearchError, StrategyInvalid
from pipelines.purity import check_purity
from pipelines.strategy import Strategy
from runtime.bundles.inputs import Array, Window


def compile_strategy(strategy: Strategy, n_symbols: int) -> bytes:
    """Trace a strategy to the ONNX graph that backtest and runtime execute.

    Args:
        strategy: declared inputs and decision function.
        n_symbols: n, number of symbols of the universe; shapes in the graph are fixed.

    Returns:
        Serialised ONNX model, float64, outputs "score" and "weight" of shape (n,). The same
        strategy gives the same bytes.

    Raises:
        StrategyInvalid: `decide` reads more than it declares, cannot be traced, or returns
            something else than a score and a weight per symbol; the text names the line.
    """
    import ndonnx as ndx  # 0.3 s; only who compiles pays for it
    from spox import _future as tracing

    check_purity(strategy)
    symbols: dict[str, Any] = {
        name: ndx.argument(
            shape=(n_symbols, declared.length) if isinstance(declared, Window) else (n_symbols,),
            dtype=ndx.float64,
        )
        for name, declared in strategy.inputs.items()
    }
    # Constants are folded by ONNX's reference in NumPy: the same bytes as by an onnxruntime session
    # per constant, which is ndonnx's default, in half the time.
    folding = tracing.value_prop_backend(tracing.ValuePropBackend.REFERENCE)
    with warnings.catch_warnings(), folding:
        warnings.simplefilter("ignore")
        outputs = _call(strategy, ndx, symbols)
    named = {}
    for name, value in zip(("score", "weight"), outputs, strict=True):
        if not isinstance(value, ndx.Array):
            raise StrategyInvalid(
                f"{_place(strategy)}: {name} is a {type(value).__name__}, not an array computed "
                f"from the inputs; use xp for every step"
            )
        if value.shape != (n_symbols,):
            raise StrategyInvalid(
                f"{_place(strategy)}: {name} has shape {value.shape}, must be ({n_symbols},): "
                f"one value per symbol"
            )
        named[name] = ndx.astype(value, ndx.float64)
    model = ndx.build(symbols, named)
    graph: bytes = model.SerializeToString(deterministic=True)
    return graph


def decide_with_numpy(strategy: Strategy, gathered: Mapping[str, Array]) -> tuple[Array, Array]:
    """Run `decide` with plain NumPy: the twin for debugging in a cell and for the parity gate.

    Args:
        strategy: with its decision function.
        gathered: inputs by name as `runtime.bundles.inputs.gather` returns them.

    Returns:
        Score and weight, shape (n,) each, float64.

    Raises:
        StrategyInvalid: `decide` failed; the text names the line.
    """
    import numpy as np

    score, weight = _call(strategy, np, gathered)
    return np.asarray(score, dtype=np.float64), np.asarray(weight, dtype=np.float64)


def _call(strategy: Strategy, xp: Any, gathered: Mapping[str, Any]) -> tuple[Any, Any]:
    """Call `decide` and return its pair, or explain what is wrong with it."""
    try:
        outputs = strategy.decide(xp, strategy.record(gathered))
    except ResearchError as error:
        raise StrategyInvalid(f"{_place(strategy, error)}: {error}") from error
    except Exception as error:
        first_line = " ".join(str(error).split())[:300]
        raise StrategyInvalid(
            f"{_place(strategy, error)}: {type(error).__name__}: {first_line}; decide must be "
            f"written with xp alone, without branching on values, inside the declared windows"
        ) from error
    if not isinstance(outputs, tuple) or len(outputs) != 2:
        raise StrategyInvalid(
            f"{_place(strategy)}: decide must return (score, weight), "
            f"returned {type(outputs).__name__}"
        )
    return outputs


def _place(strategy: Strategy, error: Exception | None = None) -> str:
    """Say where in the notebook: the cell, and the line that failed."""
    if not isinstance(strategy.decide, FunctionType):
        return "decide"
    code = strategy.decide.__code__
    line = code.co_firstlineno
    if error is not None:
        for frame, at in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename == code.co_filename:
                line = at
    cell = code.co_filename if " cell " in code.co_filename else "strategy cell"
    return f"{cell}, line {line}"
