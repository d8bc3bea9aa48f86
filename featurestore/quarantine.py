"""The quarantine: bad rows with their reason, until somebody releases or drops them with one."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, get_args

import polars as pl

from featurestore.contract import table_schema
from featurestore.errors import ContractBroken
from featurestore.lake import Lake
from featurestore.views import FeatureView

QUARANTINE_TABLE = "_quarantine"
DECISIONS_TABLE = "_quarantine_decisions"
_ROWS: dict[str, pl.DataType] = {
    "view": pl.String(),
    "batch": pl.String(),  # SHA-256 of the bad rows of one frame: sent twice, kept once
    "row": pl.Int64(),  # 0-based, in the frame that was sent
    "reason": pl.String(),
    "field": pl.String(),
    "content": pl.String(),  # the row as JSON
}
_DECISIONS: dict[str, pl.DataType] = {
    "batch": pl.String(),
    "row": pl.Int64(),
    "verdict": pl.String(),
    "why": pl.String(),
    "by": pl.String(),
    "decided_at": pl.Datetime("us", "UTC"),
}
_KEY = ["batch", "row"]
Verdict = Literal["released", "dropped"]
# What a person may vouch for; every other fault has to be gone before a row can be released.
WAIVABLE = frozenset({"value out of range"})


def set_aside(lake: Lake, view: FeatureView, bad: pl.DataFrame) -> None:
    """Add bad rows to the quarantine, once per frame content."""
    if bad.is_empty():
        return
    content = pl.struct(view.columns).map_elements(_json, return_dtype=pl.String)
    rows = bad.select(
        pl.lit(view.name).alias("view"),
        pl.lit("").alias("batch"),
        pl.col("row").cast(pl.Int64),
        "reason",
        "field",
        content.alias("content"),
    )
    batch = hashlib.sha256(rows.write_csv().encode()).hexdigest()
    version = lake.version(QUARANTINE_TABLE)
    if version is not None:
        held = lake.read(QUARANTINE_TABLE, version=version, columns=["batch"])
        if (held["batch"] == batch).any():
            return
    rows = rows.with_columns(pl.lit(batch).alias("batch"))
    lake.append(QUARANTINE_TABLE, rows.match_to_schema(_ROWS), after=version)


def kept(lake: Lake, view: str | None = None, *, decided: bool = False) -> pl.DataFrame:
    """Return rows set aside, in order of view, batch and row.

    Args:
        lake: where they lie.
        view: of one view; None = of all.
        decided: also those released or dropped, with verdict, why, by and decided_at.
    """
    rows = _read(lake, QUARANTINE_TABLE, _ROWS).sort("view", *_KEY)
    if view is not None:
        rows = rows.filter(pl.col("view") == view)
    decisions = _read(lake, DECISIONS_TABLE, _DECISIONS).unique(_KEY, keep="first")
    if decided:
        return rows.join(decisions, on=_KEY, how="left", maintain_order="left")
    return rows.join(decisions, on=_KEY, how="anti", maintain_order="left")


def chosen(lake: Lake, view: str, batch: str, rows: Sequence[int] | None) -> pl.DataFrame:
    """Return the undecided rows of a batch, or some of them by number.

    Raises:
        ContractBroken: the batch is unknown or ambiguous, or a row of it is not open.
    """
    held = kept(lake, view).filter(pl.col("batch").str.starts_with(batch))
    batches = held["batch"].unique().sort().to_list()
    if not batch or len(batches) != 1:
        every = [b[:12] for b in kept(lake, view)["batch"].unique().sort()]
        raise ContractBroken(
            f"{len(batches)} open batches of {view} begin with {batch!r}; "
            f"open are: {', '.join(every) or 'none'}"
        )
    if rows is None:
        return held
    picked = held.filter(pl.col("row").is_in(list(rows)))
    missing = sorted(set(rows) - set(picked["row"].to_list()))
    if missing:
        raise ContractBroken(
            f"batch {batch[:12]} of {view} has no open row {', '.join(map(str, missing))}; "
            f"it has {', '.join(map(str, held['row'].to_list()))}"
        )
    return picked


def decide(
    lake: Lake, rows: pl.DataFrame, verdict: Verdict, *, why: str, by: str, at: datetime | None
) -> None:
    """Record what became of rows that were set aside; they stay on file.

    Raises:
        ContractBroken: nobody's name or no reason is given.
    """
    if verdict not in get_args(Verdict) or not why.strip() or not by.strip():
        raise ContractBroken(
            f"to have rows {verdict}, say why and who decides; was given {why!r} and {by!r}"
        )
    said = rows.select(
        *_KEY,
        pl.lit(verdict).alias("verdict"),
        pl.lit(why).alias("why"),
        pl.lit(by).alias("by"),
        pl.lit(at, pl.Datetime("us", "UTC")).alias("decided_at"),
    )
    lake.append(DECISIONS_TABLE, said, after=lake.version(DECISIONS_TABLE))


def decoded(view: FeatureView, rows: pl.DataFrame) -> pl.DataFrame:
    """Rebuild the rows that were sent from their content."""
    records: list[dict[str, Any]] = [json.loads(content) for content in rows["content"]]
    for record in records:
        for name in ("event_time", "known_at"):
            if record[name] is not None:
                record[name] = datetime.fromisoformat(record[name])
    return pl.DataFrame(records, schema=table_schema(view), orient="row")


def _read(lake: Lake, table: str, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    version = lake.version(table)
    if version is None:
        return pl.DataFrame(schema=schema)
    return lake.read(table, version=version)


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, default=str, sort_keys=True)
