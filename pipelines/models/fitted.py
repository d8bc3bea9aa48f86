"""A fitted model as decisions know it: an ONNX graph from features to one value per row.

Called with NumPy it runs that graph; called while `decide` is traced it becomes part of the
decision's graph. The Python object it was exported from plays no part in a decision.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np

from pipelines.errors import ModelInvalid
from pipelines.models.calibration import Calibration

Door: TypeAlias = Literal["float32", "float64"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FittedModel:
    """One model, ready to be called in `decide` as `inputs.<name>(features)`."""

    onnx: bytes  # serialised; one input of shape (rows, features)
    features: int  # columns
    door: Door  # features are cast to it once, at the model's door; trees take float32
    output: str = "variable"  # which of the graph's outputs is the value
    column: int = 0  # of that output
    calibration: Calibration | None = None  # from value to probability, learnt out of fold

    def __repr__(self) -> str:
        return f"FittedModel({self.features} features, {self.door}, {self.hash[:12]})"

    @property
    def hash(self) -> str:
        """Return SHA-256 over the graph and how it is called, hex."""
        head = f"{self.features}\x1f{self.door}\x1f{self.output}\x1f{self.column}\x1f"
        map_ = self.calibration
        tail = b"" if map_ is None else map_.knots.tobytes() + map_.levels.tobytes()
        return hashlib.sha256(head.encode() + self.onnx + tail).hexdigest()

    @property
    def identity(self) -> str:
        """Return what a trial's code hash takes of this model: its bytes."""
        return self.hash

    def __call__(self, values: Any) -> Any:
        """Return one float64 value per row of `values`, shape (rows, features).

        Raises:
            ModelInvalid: another number of columns, or not two dimensions.
        """
        if len(values.shape) != 2 or values.shape[1] != self.features:
            raise ModelInvalid(
                f"the model takes features of shape (n, {self.features}), was given {values.shape}"
            )
        if isinstance(values, np.ndarray):
            return self._run(values)
        return self._inline(values)

    def confidence(self, xp: Any, score: Any) -> Any:
        """Return the probability that a row does better than the median row of its date.

        Args:
            xp: as `decide` was given it.
            score: this model's values, shape (n,).

        Raises:
            ModelInvalid: the model was declared without `calibrated`.
        """
        if self.calibration is None:
            raise ModelInvalid("the model has no calibrated confidence; declare calibrated=5 folds")
        return self.calibration(xp, score)

    def _run(self, values: Any) -> Any:
        session, name = _session(self.onnx)
        fed = {name: np.ascontiguousarray(values, dtype=self.door)}
        result = np.asarray(session.run([self.output], fed)[0], dtype=np.float64)
        return result.reshape(len(values), -1)[:, self.column].copy()

    def _inline(self, values: Any) -> Any:
        import ndonnx as ndx
        import onnx
        from spox import inline

        cast = ndx.astype(values, getattr(ndx, self.door))
        outputs = inline(onnx.load_model_from_string(self.onnx))(cast.unwrap_spox())
        rows = values.shape[0]
        result = ndx.reshape(ndx.asarray(outputs[self.output]), (rows, -1))[:, self.column]
        return ndx.astype(result, ndx.float64)


@lru_cache(maxsize=32)
def _session(graph: bytes) -> tuple[Any, str]:
    """Load a graph once, for one thread, and tell its input's name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return session, session.get_inputs()[0].name
