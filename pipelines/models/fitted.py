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
from pipelines.models.intervals import Conformal

Door: TypeAlias = Literal["float32", "float64"]


class Judged:
    """What a model says about its own values, learnt from rows it did not see."""

    __slots__ = ()
    calibration: Calibration | None  # from value to probability
    conformal: Conformal | None  # how far outcomes lie from values

    def confidence(self, xp: Any, value: Any) -> Any:
        """Return the probability that a row does better than the median row of its date.

        Args:
            xp: as `decide` was given it.
            value: this model's values, shape (n,).

        Raises:
            ModelInvalid: the model was declared without `calibrated`.
        """
        if self.calibration is None:
            raise ModelInvalid("the model has no calibrated confidence; declare calibrated=5 folds")
        return self.calibration(xp, value)

    def interval(self, value: Any) -> tuple[Any, Any]:
        """Return lower and upper ends, in units of the target, that hold as often as declared.

        Raises:
            ModelInvalid: the model was declared without `covered`.
        """
        if self.conformal is None:
            raise ModelInvalid("the model has no interval; declare covered=0.8, say")
        return value - self.conformal.radius, value + self.conformal.radius

    def clear_of_zero(self, xp: Any, value: Any) -> Any:
        """Return 1 where the interval leaves zero out, else 0, shape (n,): who has a direction."""
        lower, upper = self.interval(value)
        return xp.astype((lower > 0.0) | (upper < 0.0), xp.float64)

    def _learnt(self) -> bytes:
        """Return the bytes of what was learnt from unseen rows."""
        parts = []
        if self.calibration is not None:
            parts += [self.calibration.knots.tobytes(), self.calibration.levels.tobytes()]
        if self.conformal is not None:
            parts.append(np.array([self.conformal.level, self.conformal.radius]).tobytes())
        return b"".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FittedModel(Judged):
    """One model, ready to be called in `decide` as `inputs.<name>(features)`."""

    onnx: bytes  # serialised; one input of shape (rows, features)
    features: int  # columns
    door: Door  # features are cast to it once, at the model's door; trees take float32
    output: str = "variable"  # which of the graph's outputs is the value
    column: int = 0  # of that output
    calibration: Calibration | None = None
    conformal: Conformal | None = None

    def __repr__(self) -> str:
        return f"FittedModel({self.features} features, {self.door}, {self.hash[:12]})"

    @property
    def hash(self) -> str:
        """Return SHA-256 over the graph and how it is called, hex."""
        head = f"{self.features}\x1f{self.door}\x1f{self.output}\x1f{self.column}\x1f"
        return hashlib.sha256(head.encode() + self.onnx + self._learnt()).hexdigest()

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

    def _run(self, values: Any) -> Any:
        session, name = open_session(self.onnx)
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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FittedEnsemble(Judged):
    """Several models mixed into one value, called like one: `inputs.<name>(features)`."""

    members: tuple[FittedModel, ...]  # those with a part in it
    weights: tuple[float, ...]  # one a member, > 0, adding up to one
    calibration: Calibration | None = None
    conformal: Conformal | None = None

    def __post_init__(self) -> None:
        if not self.members or len(self.members) != len(self.weights):
            raise ModelInvalid(f"{len(self.members)} members have {len(self.weights)} weights")
        if any(one.calibration or one.conformal for one in self.members):
            raise ModelInvalid("confidence and interval belong to an ensemble, not to its members")

    def __repr__(self) -> str:
        mix = ", ".join(f"{weight:.2f}" for weight in self.weights)
        return f"FittedEnsemble({mix}, {self.hash[:12]})"

    @property
    def features(self) -> int:
        """Return the number of columns that every member takes."""
        return self.members[0].features

    @property
    def hash(self) -> str:
        """Return SHA-256 over the members, their weights and what was learnt, hex."""
        parts = [one.hash.encode() for one in self.members]
        parts += [np.array(self.weights).tobytes(), self._learnt()]
        return hashlib.sha256(b"\x1f".join(parts)).hexdigest()

    @property
    def identity(self) -> str:
        """Return what a trial's code hash takes of this ensemble: its bytes."""
        return self.hash

    def __call__(self, values: Any) -> Any:
        """Return one float64 value per row of `values`, shape (rows, features)."""
        parts = [w * one(values) for w, one in zip(self.weights, self.members, strict=True)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


Fitted: TypeAlias = FittedModel | FittedEnsemble


@lru_cache(maxsize=32)
def open_session(graph: bytes) -> tuple[Any, str]:
    """Load a graph once, for one thread, and tell its input's name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return session, session.get_inputs()[0].name
