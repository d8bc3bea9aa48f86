"""Labels span time: those of the training set must end before the test period starts."""

from datetime import datetime, timedelta

import polars as pl

from featurestore.audit.findings import AuditReport, Leak
from featurestore.errors import ContractBroken


def audit_split(
    training: pl.DataFrame,
    test: pl.DataFrame,
    *,
    name: str = "labels",
    embargo: timedelta = timedelta(0),
) -> AuditReport:
    """Find training labels whose span overlaps the span of any test label.

    Args:
        training: entity, start (instant of the features) and end (when the outcome is known), UTC.
        test: the same columns.
        name: what reports call it.
        embargo: gap demanded after the test period before training goes on.

    Returns:
        At most one leak, the first label in time, with how many there are.

    Raises:
        ContractBroken: a column is missing, a label ends before it starts, or a side is empty.

    Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", section 7.4.
    """
    for side, labels in (("training", training), ("test", test)):
        missing = [c for c in ("entity", "start", "end") if c not in labels.columns]
        if missing or labels.is_empty():
            raise ContractBroken(
                f"{name}: the {side} labels need rows with entity, start and end; "
                f"have {labels.height} rows, lack {', '.join(missing) or 'nothing'}"
            )
        if (labels["end"] < labels["start"]).any():
            raise ContractBroken(f"{name}: a {side} label ends before it starts")
    first, last = _span(test)
    inside = (pl.col("end") > first) & (pl.col("start") <= last + embargo)
    bad = training.filter(inside).sort("start", "entity")
    leaks = []
    if not bad.is_empty():
        row = bad.row(0, named=True)
        leaks.append(
            Leak(
                feature=name,
                kind="overlap",
                entity=row["entity"],
                at=row["start"],
                seen=f"{bad.height} of {training.height} training labels overlap the test period "
                f"{first:%Y-%m-%d} to {last:%Y-%m-%d}; this one ends {row['end']:%Y-%m-%d %H:%M}",
            )
        )
    return AuditReport(
        subject=name,
        features=(name,),
        rows=training.height + test.height,
        checked=1,
        leaks=tuple(leaks),
    )


def _span(labels: pl.DataFrame) -> tuple[datetime, datetime]:
    first, last = labels["start"].min(), labels["end"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return first, last
