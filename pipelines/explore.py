"""What an exploration notebook imports: the lake as research may see it, tables, pictures."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from featurestore.audit import AuditReport
from featurestore.features.declaration import Feature
from featurestore.features.library import LIBRARY
from featurestore.historical import HistoricalFeatures
from featurestore.reader import LakeReader
from pipelines.pictures import ACCENT, BENCHMARK, INK, LOSS, MUTED, Picture, Table, draw
from pipelines.workspace import Workspace, open_workspace

_COLOURS = (ACCENT, "#d98c21", "#5b8c5a", LOSS, "#7a5ea8", BENCHMARK)


class Prose(Table):
    """A table of words, aligned to the left."""

    def _repr_html_(self) -> str:
        return Table._repr_html_(self).replace("text-align:right", "text-align:left")


@dataclass(frozen=True, slots=True)
class Told:
    """A table with a sentence under it."""

    table: Table
    words: str

    def __repr__(self) -> str:
        return f"{self.table!r}\n\n{self.words}"

    def _repr_html_(self) -> str:
        return f"{self.table._repr_html_()}<p>{html.escape(self.words)}</p>"


def open_lake(workspace: Workspace | None = None) -> LakeReader:
    """Open the workspace's pinned snapshot; what a study has sealed is not even loaded."""
    return (workspace or open_workspace()).exploring_reader()


def views(lake: LakeReader) -> Table:
    """List every view: what it is about, since when, and how late its values are known."""
    rows = []
    for name, view in sorted(lake.contracts.items()):
        fields = ", ".join(field.name for field in view.fields)
        late = "at once" if not view.availability else f"{_span(view.availability)} later"
        if name not in lake.snapshot.versions:
            rows.append((name, fields, "0", "0", "no rows", late))
            continue
        held = lake.rows(name)
        ends = (held["event_time"].min(), held["event_time"].max())
        span = " to ".join(f"{each:%Y-%m}" for each in ends if isinstance(each, datetime))
        entities = held["entity"].n_unique()
        rows.append((name, fields, f"{entities}", f"{held.height:,}", span, late))
    return Table(("View", "Fields", "Entities", "Observations", "About", "Known"), rows)


def contract(lake: LakeReader, name: str) -> Told:
    """Show one view's contract, field by field, and where its rows come from."""
    view = lake.view(name)
    rows = [
        (
            field.name,
            field.unit,
            field.dtype,
            "any" if field.low is None else f"{field.low:g}",
            "any" if field.high is None else f"{field.high:g}",
            "may be absent" if field.nullable else "required",
        )
        for field in view.fields
    ]
    words = (
        f"{view.description} Source: {view.source}. Kept by {view.owner}; event times are "
        f"{f'closes of {view.calendar}' if view.calendar else 'its own'}; stale after "
        f"{_span(view.freshness)}; contract {view.version_hash[:12]}."
    )
    return Told(Prose(("Field", "Unit", "Type", "From", "To", "Value"), rows), words)


def formulas() -> Table:
    """List the library: every formula with its inputs, parameters and unit."""
    rows = []
    for name in sorted(LIBRARY):
        kind = LIBRARY[name]
        options = ", ".join(f"{key}={value}" for key, value in kind.defaults.items())
        rows.append((name, ", ".join(kind.inputs), options, kind.told("Formula"), kind.unit))
    return Prose(("Name", "Inputs", "Parameters", "Formula", "Unit"), rows)


def passport(feature: Feature) -> Table:
    """Show everything that a manifest would pin of a feature."""
    kind = feature.kind
    return Prose(
        (kind.name, ""),
        [
            ("Name", feature.name),
            ("Says", kind.__doc__.partition("\n")[0]),
            ("Formula", kind.told("Formula")),
            ("Source", kind.told("Source")),
            ("Reads", ", ".join(source.name for source in feature.sources)),
            ("Required history", f"{feature.required} bars"),
            ("Unit", feature.unit),
            ("Version", feature.version_hash[:12]),
        ],
    )


def answer(found: HistoricalFeatures, last: int = 5) -> Told:
    """Show the last rows of a historical read, and whether it is point in time."""
    columns = [c for c in found.frame.columns if not c.endswith(("event_time", "known_at"))]
    rows = [
        tuple(_text(value) for value in row)
        for row in found.frame.tail(last).select(columns).rows()
    ]
    verdict = "Point in time" if found.is_pit_validated else "NOT point in time"
    said = "; ".join(found.reasons) or "every value was known at its instant"
    words = (
        f"{verdict}: {said.rstrip('.')}. {found.frame.height:,} rows in all, "
        f"snapshot {found.snapshot_hash[:12]}."
    )
    return Told(Table(columns, rows), words)


def verdict(report: AuditReport) -> Told:
    """Show what an audit found: one row per leak, or that there is none."""
    rows = [
        (
            leak.feature,
            leak.entity,
            "" if leak.at is None else f"{leak.at:%Y-%m-%d}",
            f"{leak.seen}; {leak.reach}" if leak.reach else leak.seen,
        )
        for leak in report.leaks
    ]
    if report.clean:
        return Told(Prose(("Feature",), [(name,) for name in report.features]), f"{report}.")
    remedy = "; ".join(dict.fromkeys(leak.remedy for leak in report.leaks))
    return Told(Prose(("Leak in", "Entity", "First", "What was seen"), rows), f"Remedy: {remedy}.")


def panels(
    frame: pl.DataFrame, columns: Mapping[str, str | Sequence[str]], *, title: str
) -> Picture:
    """Draw small pictures under one another on a common time axis.

    Args:
        frame: column `at` and values, sorted by time.
        columns: heading of a picture -> the column or columns drawn in it.
        title: what is seen, for who cannot see it.
    """
    at = frame["at"].to_numpy()

    def paint(figure: Any) -> None:
        axes = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
        for each, (heading, names) in zip(axes, columns.items(), strict=True):
            drawn = [names] if isinstance(names, str) else list(names)
            for colour, name in zip(_COLOURS, drawn, strict=False):
                each.plot(at, frame[name].to_numpy(), color=colour, linewidth=1.1, label=name)
            if len(drawn) > 1:
                each.legend(fontsize=7.5, loc="upper left", ncols=len(drawn))
            each.set_title(heading)
            each.margins(x=0.01)

    return draw(paint, words=title, size=(8.6, 1.0 + 1.45 * len(columns)))


def heat(frame: pl.DataFrame, feature: str, *, title: str) -> Picture:
    """Draw a feature of many entities as a heat map: a row per entity, time from left to right."""
    wide = frame.pivot(on="entity", index="at", values=feature).sort("at")
    names = [name for name in wide.columns if name != "at"]
    values = wide.select(names).to_numpy().T
    order = np.argsort(-np.nanmean(values, axis=1), kind="stable")
    years = np.array([at.year for at in wide["at"]])
    starts = np.flatnonzero(np.diff(years, prepend=years[0] - 1))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        image = axes.imshow(values[order], aspect="auto", cmap="RdYlBu_r", interpolation="nearest")
        axes.set_yticks(range(len(names)), [names[i] for i in order], fontsize=7)
        axes.set_xticks(starts, [str(years[start]) for start in starts])
        axes.grid(visible=False)
        axes.set_title(title)
        bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=30)
        bar.outline.set_visible(False)

    return draw(paint, words=f"{title}; highest on average: {names[order[0]]}.", size=(8.6, 3.9))


def bars(values: Mapping[str, float], *, title: str) -> Picture:
    """Draw one bar per entity, largest first."""
    names = sorted(values, key=lambda name: -values[name])
    heights = [values[name] for name in names]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        colours = [ACCENT if height >= 0 else LOSS for height in heights]
        axes.bar(names, heights, color=colours, width=0.7)
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        axes.tick_params(axis="x", labelsize=7.5)
        axes.grid(visible=False, axis="x")
        axes.set_title(title)

    return draw(paint, words=f"{title}: {names[0]} first, {names[-1]} last.", size=(8.6, 2.7))


def vintages(
    lake: LakeReader,
    feature: str,
    entity: str,
    at: Sequence[datetime],
    *,
    title: str,
    since: datetime | None = None,
) -> Picture:
    """Draw a published series as it was believed on some days, and its first prints.

    Args:
        lake: a snapshot with revisions.
        feature: "view.field".
        entity: of the view.
        at: days of belief, UTC, ascending.
        title: of the picture.
        since: UTC, what is about earlier times is left out; None = all.
    """
    _, _, field = feature.partition(".")
    wanted = pl.col("entity") == entity
    if since is not None:
        wanted &= pl.col("event_time") >= since
    beliefs = [lake.as_of(feature, each).filter(wanted) for each in at]
    first = lake.first_print(feature).filter(wanted & (pl.col("known_at") <= at[-1]))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for colour, day, belief in zip(_COLOURS, at, beliefs, strict=False):
            label = f"as known on {day:%Y-%m-%d}"
            times = belief["event_time"].to_numpy()
            axes.plot(times, belief[field].to_numpy(), color=colour, linewidth=1.3, label=label)
        axes.plot(
            first["event_time"].to_numpy(), first[field].to_numpy(), linestyle="none",
            marker=".", markersize=5, color=INK, label="first prints",
        )  # fmt: skip
        axes.legend(fontsize=8, loc="upper left")
        axes.set_title(title)

    return draw(paint, words=f"{title}: {len(at)} vintages and the first prints.", size=(8.6, 3.2))


def revised(lake: LakeReader, feature: str, entity: str, last: int = 6) -> Table:
    """Show how the newest values of a series came to be, revision by revision."""
    _, _, field = feature.partition(".")
    rows = [
        (
            f"{row['event_time']:%Y-%m-%d}",
            f"{row['revision']}",
            f"{row[field]:.3f}",
            "first print" if row["change"] is None else f"{row['change']:+.3f}",
            f"{row['known_at']:%Y-%m-%d}",
            "it stands" if row["superseded_at"] is None else f"{row['superseded_at']:%Y-%m-%d}",
        )
        for row in lake.revisions(feature, entity).tail(last).iter_rows(named=True)
    ]
    return Table(("About", "Revision", field, "Change", "Known", "Superseded"), rows)


def _span(duration: Any) -> str:
    days, seconds = duration.days, duration.seconds
    return f"{days} days" if days else f"{seconds // 60} minutes"


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
