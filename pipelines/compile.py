"""From a decision function to its graph: trace once, serialise deterministically.

1. check that `decide` reads nothing but its inputs, parameters and cell (purity)
2. call it once with the tracer's array API and symbolic inputs of fixed shapes
3. check what it returned, let the unsure abstain, and name the outputs
"""

import traceback
import warnings
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from pipelines.errors import ResearchError, StrategyInvalid
from pipelines.purity import check_purity
from pipelines.strategy import Strategy
from pipelines.tracing import folded
from runtime.bundles.inference import CONFIDENCE, OUTPUTS
from runtime.bundles.inputs import Array, Window


def compile_strategy(strategy: Strategy, n_symbols: int) -> bytes:
    """Trace a strategy to the ONNX graph that backtest and runtime execute.

    Args:
        strategy: declared inputs and decision function.
        n_symbols: n, number of symbols of the universe; shapes in the graph are fixed.

    Returns:
        Serialised ONNX model, float64, outputs "score", "weight" and, if it is declared,
        "confidence" of shape (n,). The same strategy gives the same bytes.

    Raises:
        StrategyInvalid: `decide` reads more than it declares, cannot be traced, or returns
            something else than a score and a weight per symbol; the text names the line.
    """
    import ndonnx as ndx  # 0.3 s; only who compiles pays for it

    check_purity(strategy)
    symbols: dict[str, Any] = {
        name: ndx.argument(
            shape=(n_symbols, declared.length) if isinstance(declared, Window) else (n_symbols,),
            dtype=ndx.float64,
        )
        for name, declared in strategy.inputs.items()
    }
    with warnings.catch_warnings(), folded():
        warnings.simplefilter("ignore")
        outputs = _call(strategy, ndx, symbols)
    named = {}
    for name, value in zip(_names(strategy), outputs, strict=True):
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
    with folded():
        named["weight"] = _without_the_unsure(strategy, ndx, named)
    model = ndx.build(symbols, named)
    graph: bytes = model.SerializeToString(deterministic=True)
    return graph


def decide_with_numpy(strategy: Strategy, gathered: Mapping[str, Array]) -> tuple[Array, ...]:
    """Run `decide` with plain NumPy: the twin for debugging in a cell and for the parity gate.

    Args:
        strategy: with its decision function.
        gathered: inputs by name as `runtime.bundles.inputs.gather` returns them.

    Returns:
        Score, weight and, if it is declared, confidence; shape (n,) each, float64.

    Raises:
        StrategyInvalid: `decide` failed; the text names the line.
    """
    import numpy as np

    outputs = _call(strategy, np, gathered)
    said = [np.asarray(value, dtype=np.float64) for value in outputs]
    named = dict(zip(_names(strategy), said, strict=True))
    named["weight"] = _without_the_unsure(strategy, np, named)
    return tuple(named.values())


def _names(strategy: Strategy) -> tuple[str, ...]:
    """Return the outputs that a strategy declares, in the order `decide` returns them."""
    return OUTPUTS if strategy.confidence is None else (*OUTPUTS, CONFIDENCE)


def _without_the_unsure(strategy: Strategy, xp: Any, named: Mapping[str, Any]) -> Any:
    """Return the weights, zero wherever the confidence is below what the strategy declares."""
    weight, declared = named["weight"], strategy.confidence
    if declared is None or declared.abstains_below is None:
        return weight
    sure = named[CONFIDENCE] >= declared.abstains_below  # false for what is not a number
    return xp.where(sure, weight, xp.zeros_like(weight))


def _call(strategy: Strategy, xp: Any, gathered: Mapping[str, Any]) -> tuple[Any, ...]:
    """Call `decide` and return what it does, or explain what is wrong with it."""
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
    wanted = _names(strategy)
    if not isinstance(outputs, tuple) or len(outputs) != len(wanted):
        kind = type(outputs).__name__
        count = f" of {len(outputs)}" if isinstance(outputs, tuple) else ""
        declare = "" if len(wanted) > len(OUTPUTS) else "; a third needs Strategy(confidence=...)"
        raise StrategyInvalid(
            f"{_place(strategy)}: decide must return ({', '.join(wanted)}), "
            f"returned {kind}{count}{declare}"
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
