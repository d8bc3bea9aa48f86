"""Golden rows: sampled inputs and expected outputs of a decision, replayed to the bit at load."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from runtime.bundles.inference import CONFIDENCE, Decided
from runtime.bundles.inputs import Array
from runtime.errors import BundleRefused, DecisionInvalid

_PREFIX = "input:"


class Decides(Protocol):
    """Whatever runs a decision graph."""

    def run(self, inputs: Mapping[str, Array]) -> Decided:
        """Return scores, weights and, if there is one, confidence."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRow:
    """One sampled decision date."""

    at: str  # ISO 8601, UTC; the decision's time
    inputs: Mapping[str, Array]  # (n,) or (n, length) each
    score: Array  # (n,)
    weight: Array  # (n,)
    confidence: Array | None = None  # (n,), if the graph gives one


def golden_bytes(rows: Sequence[GoldenRow]) -> bytes:
    """Write golden rows as Parquet: lists of float64, row-major; the same rows, the same bytes.

    Raises:
        ValueError: no rows, or rows that disagree on their inputs.
    """
    import polars as pl  # only promotion and a bundle's load need it

    shapes = {(frozenset(row.inputs), row.confidence is None) for row in rows}
    if len(shapes) != 1:
        raise ValueError(
            "golden rows need at least one row, and the same inputs and outputs in each"
        )
    floats = pl.List(pl.Float64)
    columns = [pl.Series("at", [row.at for row in rows], dtype=pl.String)]
    for name in sorted(rows[0].inputs):
        values = [np.asarray(row.inputs[name]).ravel().tolist() for row in rows]
        columns.append(pl.Series(_PREFIX + name, values, dtype=floats))
    columns.append(pl.Series("score", [row.score.tolist() for row in rows], dtype=floats))
    columns.append(pl.Series("weight", [row.weight.tolist() for row in rows], dtype=floats))
    sure = [row.confidence.tolist() for row in rows if row.confidence is not None]
    if sure:
        columns.append(pl.Series(CONFIDENCE, sure, dtype=floats))
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(
        buffer, compression="zstd", compression_level=3, statistics=False
    )
    return buffer.getvalue()


def read_golden(data: bytes) -> tuple[GoldenRow, ...]:
    """Read golden rows back; BundleRefused if the file is not what `golden_bytes` writes."""
    import polars as pl

    try:
        table = pl.read_parquet(io.BytesIO(data), use_statistics=False).to_dict(as_series=False)
        return tuple(
            _row(table["at"][row], {name: values[row] for name, values in table.items()})
            for row in range(len(table["at"]))
        )
    except (pl.exceptions.PolarsError, KeyError, ValueError, TypeError) as error:
        raise BundleRefused(f"golden.parquet: cannot be read ({error})") from error


def _row(at: str, values: Mapping[str, list[float]]) -> GoldenRow:
    score, weight = np.array(values["score"]), np.array(values["weight"])
    sure = np.array(values[CONFIDENCE]) if CONFIDENCE in values else None
    inputs = {}
    for name, flat in values.items():
        if name.startswith(_PREFIX):
            array = np.array(flat, dtype=np.float64)
            shaped = array if len(array) == len(score) else array.reshape(len(score), -1)
            inputs[name.removeprefix(_PREFIX)] = shaped
    return GoldenRow(at=at, inputs=inputs, score=score, weight=weight, confidence=sure)


def replay_golden(
    session: Decides, rows: Sequence[GoldenRow], ranks: Mapping[str, int], symbols: int
) -> None:
    """Decide every golden row again and compare all bits.

    Args:
        session: the loaded graph.
        rows: what the graph said when it was promoted.
        ranks: input name -> 1 for (n,), 2 for (n, length).
        symbols: rows of every array.

    Raises:
        BundleRefused: no rows, rows that do not fit the graph, or one differing bit.
    """
    if not rows:
        raise BundleRefused("golden.parquet: has no rows")
    for number, row in enumerate(rows):
        where = f"golden.parquet: row {number} ({row.at})"
        if len(row.score) != symbols:
            raise BundleRefused(f"{where} is about {len(row.score)} symbols, not {symbols}")
        inputs = {
            name: value.reshape(symbols, -1) if ranks.get(name) == 2 else value
            for name, value in row.inputs.items()
        }
        try:
            decided = session.run(inputs)
        except DecisionInvalid as error:
            raise BundleRefused(f"{where} is refused by the graph: {error}") from error
        for name, expected, found in (
            ("score", row.score, decided.score),
            ("weight", row.weight, decided.weight),
            (CONFIDENCE, row.confidence, decided.confidence),
        ):
            if expected is None or found is None:
                if expected is not found:
                    raise BundleRefused(f"{where}: {name} is on one side only")
                continue
            if expected.tobytes() != found.tobytes():
                worst = float(np.abs(expected - found).max())
                raise BundleRefused(f"{where}: {name} differs by up to {worst:.3g}, must be equal")
