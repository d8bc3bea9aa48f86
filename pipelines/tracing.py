"""How a decision is traced: constants are folded in NumPy, and their types are not inferred."""

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np


def folded() -> AbstractContextManager[None]:
    """Fold constants by ONNX's reference in NumPy while something is traced.

    The same bytes as by an onnxruntime session per constant, which is ndonnx's default, in half
    the time.
    """
    from spox import _future as tracing

    _know_constants()
    return tracing.value_prop_backend(tracing.ValuePropBackend.REFERENCE)


@cache
def _know_constants() -> None:
    """Let a constant tell its type and value itself, for the rest of this process.

    spox asks ONNX for both, by building and checking a model of one node; a decision holds a
    hundred constants, and that was half of its tracing. What comes out is the same.
    """
    from spox import _type_system, _value_prop
    from spox.opset.ai.onnx import v21

    constant: Any = v21._Constant
    ask_type, ask_value = constant.infer_output_types, constant.propagate_values

    def plain(node: Any) -> Any:
        """Return the value of a constant that is an array of numbers, else None."""
        given = None if node.attrs.value is None else node.attrs.value.value
        if not isinstance(given, np.ndarray) or given.dtype.kind not in "biuf":
            return None
        return given.astype(np.dtype(given.dtype.name))  # platform's own types have aliases

    def infer_output_types(self: Any, input_prop_values: Any) -> Any:
        value = plain(self)
        if value is None:
            return ask_type(self, input_prop_values)
        return {"output": _type_system.Tensor(value.dtype, value.shape)}

    def propagate_values(self: Any, input_prop_values: Any) -> Any:
        value = plain(self)
        if value is None or _value_prop._VALUE_PROP_BACKEND == _value_prop.ValuePropBackend.NONE:
            return ask_value(self, input_prop_values)
        known = _type_system.Tensor(value.dtype, value.shape)
        return {"output": _value_prop.PropValue(known, value)}

    constant.infer_output_types, constant.propagate_values = infer_output_types, propagate_values
