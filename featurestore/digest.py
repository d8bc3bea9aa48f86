"""Content hashes of tables: the same observations give the same hash, however they are filed."""

import hashlib
import json

import numpy as np
import polars as pl

from featurestore.contract import UTC_TIME, table_schema
from featurestore.order import by_identity
from featurestore.views import FeatureView


def table_hash(view: FeatureView, rows: pl.DataFrame) -> str:
    """Return the SHA-256 of a view's contract and observations, hex.

    Args:
        view: the contract; its version hash goes in first.
        rows: observations in any order, with the columns of `table_schema`.

    Returns:
        A hash of values only: independent of file layout, row order and ingest batches.
    """
    rows = by_identity(rows.select(list(table_schema(view))))
    digest = hashlib.sha256(f"{view.version_hash}\n{rows.height}\n".encode())
    for name, column in zip(rows.columns, rows.iter_columns(), strict=True):
        digest.update(f"{name}:{column.dtype}\n".encode())
        if column.dtype == pl.String:
            names = column.unique().sort()
            digest.update(json.dumps(names.to_list()).encode())
            column = column.cast(pl.Enum(names.drop_nulls())).to_physical().cast(pl.UInt32)
        elif column.dtype == UTC_TIME:
            column = column.to_physical()
        if column.null_count():
            digest.update(column.is_null().cast(pl.UInt8).to_numpy().tobytes())
            column = column.fill_null(0)
        digest.update(np.ascontiguousarray(column.to_numpy()).data)
    return digest.hexdigest()


def combined_hash(tables: dict[str, str]) -> str:
    """Return one hash for several tables: SHA-256 over "name hash" lines in order of name, hex."""
    lines = "".join(f"{name} {tables[name]}\n" for name in sorted(tables))
    return hashlib.sha256(lines.encode()).hexdigest()
