"""Feast's historical read: a spine of entities and instants in, what was known then out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import partial

import polars as pl

from featurestore.calendars import load_calendar
from featurestore.contract import UTC_TIME
from featurestore.errors import ContractBroken, HistoryMissing
from featurestore.universes import Memberships, Universe, listed_as, members_at
from featurestore.views import FeatureView, is_plain, split_feature


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoricalFeatures:
    """The answer to a historical read."""

    frame: pl.DataFrame  # the spine, then per view its fields, event_time and known_at
    is_pit_validated: bool  # every value was looked at and no reason speaks against it
    snapshot_hash: str  # what was read
    reasons: tuple[str, ...] = ()  # why it is not point in time, in words


def spine_of(view: FeatureView, symbols: Sequence[str], start: date, end: date) -> pl.DataFrame:
    """Return a spine: every symbol at every session close from `start` to `end`, inclusive.

    Raises:
        ContractBroken: the view has no calendar, no symbol was named, or no session lies between.
    """
    if view.calendar is None:
        raise ContractBroken(
            f"view {view.name} has no calendar to take instants from; pass a spine with entity, at"
        )
    sessions = load_calendar(view.calendar).sessions(start, end)
    if not symbols or not sessions:
        raise ContractBroken(
            f"{len(symbols)} symbols and {len(sessions)} sessions from {start} to {end} make no "
            "spine; name at least one symbol and a range with sessions"
        )
    instants = pl.DataFrame({"at": [session.close for session in sessions]})
    return pl.DataFrame({"entity": list(symbols)}).join(
        instants.cast(UTC_TIME), how="cross", maintain_order="left_right"
    )


def spine_of_members(
    view: FeatureView,
    members: Callable[[Sequence[datetime]], Sequence[Sequence[str]]],
    start: date,
    end: date,
) -> pl.DataFrame:
    """Return a spine: at every session close from `start` to `end` who was a member then.

    Raises:
        ContractBroken: the view has no calendar, no session lies between, or nobody was a member.
    """
    closes = spine_of(view, ["member"], start, end)["at"].to_list()
    named = pl.DataFrame(
        {"at": closes, "entity": [list(each) for each in members(closes)]},
        schema={"at": UTC_TIME, "entity": pl.List(pl.String())},
    )
    spine = named.explode("entity").drop_nulls().select("entity", "at")
    if spine.is_empty():
        raise ContractBroken(
            f"the universe has no member from {start} to {end}; choose a later range"
        )
    return spine


def asked_spine(
    reader: Memberships,
    first: FeatureView,
    *,
    spine: pl.DataFrame | None,
    symbols: Sequence[str] | None,
    start: date | None,
    end: date | None,
    universe: Universe | str | None,
) -> tuple[pl.DataFrame, list[str]]:
    """Return the spine that a question names, one way or the other.

    Args:
        reader: tells who was a member when.
        first: view of the first feature; its calendar gives a range its instants.
        spine: entity and at; or instead
        symbols: entities, with `start` and `end`, days, inclusive; or instead of symbols
        start: first day.
        end: last day.
        universe: a list of symbols, or the name of a membership view.

    Returns:
        The spine, and why it is not point in time, in words.

    Raises:
        ContractBroken: nothing, too much or nonsense was asked.
    """
    _require_range(symbols, start, end)
    if symbols is not None and universe is not None:
        raise ContractBroken("pass symbols or a universe, not both")
    chosen = symbols if universe is None else universe
    if spine is not None:
        if not (chosen is None and start is None and end is None):
            raise ContractBroken("pass a spine or symbols with start and end, not both")
        return spine, []
    if chosen is None or start is None or end is None:
        raise ContractBroken(
            "pass features, and a spine or symbols with start and end, or a universe"
        )
    if isinstance(chosen, str):
        return spine_of_members(first, partial(members_at, reader, chosen), start, end), []
    names = chosen.symbols if isinstance(chosen, Universe) else chosen
    known = chosen if isinstance(chosen, Universe) else listed_as(names)
    said = None if known is None else known.hindsight(datetime.combine(start, time(), UTC))
    return spine_of(first, names, start, end), [] if said is None else [said]


def _require_range(symbols: object, start: object, end: object) -> None:
    """Refuse what looks like a range but is none; ContractBroken says what to write."""
    if isinstance(symbols, str):
        raise ContractBroken(f"symbols is the text {symbols!r}; pass a list, [{symbols!r}]")
    for name, day in (("start", start), ("end", end)):
        if day is not None and (not isinstance(day, date) or isinstance(day, datetime)):
            raise ContractBroken(
                f"{name} is {day!r}; pass a day, e.g. datetime.date(2016, 1, 4); "
                "for instants within a day pass a spine"
            )


def require_some(frame: pl.DataFrame, features: Sequence[str]) -> None:
    """Refuse a range in which a symbol has no value at all, of none of the features.

    Raises:
        HistoryMissing: names the symbols and the range asked for.
    """
    any_value = pl.any_horizontal(pl.col(feature).is_not_null().any() for feature in features)
    held = frame.group_by("entity", maintain_order=True).agg(
        any_value.alias("held"), pl.col("at").max().alias("last")
    )
    missing = held.filter(~pl.col("held"))
    if not missing.is_empty():
        names = missing["entity"].to_list()
        more = f" and {len(names) - 5} others" if len(names) > 5 else ""
        raise HistoryMissing(
            f"{', '.join(features)}: nothing of {', '.join(names[:5])}{more} was known by "
            f"{missing['last'][0]:%Y-%m-%d}; the history starts later or the symbol is not in the "
            "view: choose a later range, leave it out, or pass a spine to get nulls"
        )


def historical(
    features: Sequence[str],
    spine: pl.DataFrame,
    join: Callable[[str, pl.DataFrame, list[str]], pl.DataFrame],
    snapshot_hash: str,
    *,
    computed: Callable[[str, pl.DataFrame], pl.DataFrame] | None = None,
    reasons: Sequence[str] = (),
) -> HistoricalFeatures:
    """Join features to a spine by knowledge time.

    Args:
        features: "view.field" or computed features by name, distinct.
        spine: columns entity and at (any time zone), in any order; other columns are kept.
        join: view, keys and fields -> event_time, known_at and the fields known at each key.
        snapshot_hash: content hash of what `join` reads.
        computed: name of a computed feature, keys -> its column and "name.known_at".
        reasons: why the spine itself is not point in time, in words.

    Raises:
        ContractBroken: the spine lacks a column or its times a zone, or no feature is named.
    """
    spine = _checked(features, spine)
    fields: dict[str, list[str]] = {}
    for feature in features:
        if computed is None or is_plain(feature):
            view, field = split_feature(feature)
            fields.setdefault(view, []).append(field)
    keys = spine.select("entity", "at")
    frame, valid = spine, True
    for view, names in fields.items():
        columns = ["event_time", "known_at", *names]
        joined = join(view, keys, names)
        valid = valid and bool((joined["known_at"] <= keys["at"]).fill_null(value=True).all())
        renamed = joined.rename({column: f"{view}.{column}" for column in columns})
        order = [f"{view}.{column}" for column in (*names, "event_time", "known_at")]
        frame = frame.hstack(renamed.select(order))
    for feature in features:
        if computed is not None and not is_plain(feature):
            found = computed(feature, keys)
            learned = found[f"{feature}.known_at"]
            valid = valid and bool((learned <= keys["at"]).fill_null(value=True).all())
            frame = frame.hstack(found)
    return HistoricalFeatures(
        frame=frame,
        is_pit_validated=valid and not reasons,
        snapshot_hash=snapshot_hash,
        reasons=(*reasons, *([] if valid else ["a value was known only after its row's instant"])),
    )


def _checked(features: Sequence[str], spine: pl.DataFrame) -> pl.DataFrame:
    if not features or len(set(features)) != len(features):
        raise ContractBroken(f"features must be distinct and not empty: {list(features)}")
    for name in ("entity", "at"):
        if name not in spine.columns:
            raise ContractBroken(
                f"the spine lacks column {name}; it has {', '.join(spine.columns)}: "
                "entity is a symbol, at the instant of the decision"
            )
    dtype = spine["at"].dtype
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
        raise ContractBroken(
            f"the spine's at is {dtype}; it must be a time with zone, "
            'e.g. .dt.replace_time_zone("UTC")'
        )
    if spine["entity"].null_count() or spine["at"].null_count():
        raise ContractBroken("the spine has a row without entity or at; drop it")
    return spine.with_columns(
        pl.col("entity").cast(pl.String),
        pl.col("at").dt.convert_time_zone("UTC").dt.cast_time_unit("us"),
    )
