"""Brings features online: from the lake into the online store, and what is new onto `features.pit`.

What the active bundle reads is brought online as it trades, behind the lake's seals; anything else
as research may read it, up to the earliest seal.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from featurestore.errors import LakeUnavailable, OnlineUnavailable, PlatformError
from featurestore.online import OnlineStore, open_online
from featurestore.online.cells import Applied
from runtime.bundles.inputs import CurrentWeights, Window
from runtime.journal.queries import JournalQueries
from runtime.streams import open_stream
from runtime.streams.messages import FEATURES
from runtime.streams.outbox import Outbox
from runtime.streams.places import Places
from service.settings import Settings

if TYPE_CHECKING:  # polars and the model's session: the service reads without them
    from featurestore.reader import LakeReader
    from runtime.bundles.bundle import LoadedBundle

log = logging.getLogger(__name__)
NAME = "sluice"  # of the store among those on one server; another workspace, another database


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be online."""

    features: tuple[str, ...]
    symbols: tuple[str, ...]
    windows: Mapping[str, int] = field(default_factory=dict)  # feature -> bars


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What became of it."""

    applied: Applied
    announced: int  # observations published on features.pit
    unannounced: str = ""  # why none were; the next time sends them too


def wanted_by(bundles: Sequence[LoadedBundle]) -> tuple[Wanted, ...]:
    """Return what each bundle reads: its inputs and its price, for its own symbols.

    Where it wants a window it is kept whole, as long as the longest that any of them wants.
    """
    sources = [
        [one.source for one in bundle.manifest.inputs if not isinstance(one.source, CurrentWeights)]
        for bundle in bundles
    ]
    windows: dict[str, int] = {}
    for source in (one for each in sources for one in each):
        if isinstance(source, Window):
            windows[source.feature] = max(source.length, windows.get(source.feature, 0))
    found = []
    for bundle, read in zip(bundles, sources, strict=True):
        names = [bundle.manifest.price_feature, *(source.feature for source in read)]
        features = tuple(dict.fromkeys(names))
        kept = {name: windows[name] for name in features if name in windows}
        found.append(Wanted(features=features, symbols=bundle.manifest.symbols, windows=kept))
    return tuple(found)


def open_store(settings: Settings) -> OnlineStore:
    """Open the online store that the settings name; OnlineUnavailable if it does not answer."""
    return open_online(settings.online_url, name=NAME)


def bring_online(
    settings: Settings,
    engine: Engine | None,
    reader: LakeReader,
    wanted: Sequence[Wanted],
    *,
    at: datetime,
) -> Brought:
    """Materialize what is wanted as known at `at`, then announce what is new of its views.

    Args:
        settings: name the store and the streams.
        engine: the journal's database, which remembers what was announced; None = announce nothing.
        reader: the snapshot to read.
        wanted: what is to be online, one after the other.
        at: UTC.

    Raises:
        HistoryMissing, HoldoutSealed, ViewUnknown, OnlineUnavailable: what is online before the one
            that failed stays; repeat it once the cause is mended.
    """
    from featurestore.features.serving import view_names

    store, written, kept = open_store(settings), 0, 0
    for each in wanted:
        done = store.materialize(reader, each.features, each.symbols, at=at, windows=each.windows)
        written, kept = written + done.written, kept + done.kept
    applied = Applied(written=written, kept=kept)
    views = dict.fromkeys(
        view for each in wanted for feature in each.features for view in view_names(feature)
    )
    if engine is None:
        return Brought(applied=applied, announced=0, unannounced="there is no journal here")
    try:
        announced = _announce(settings, engine, reader, tuple(views), at)
    except (PlatformError, OSError) as error:
        return Brought(applied=applied, announced=0, unannounced=str(error))
    return Brought(applied=applied, announced=announced)


def _announce(
    settings: Settings, engine: Engine, reader: LakeReader, views: Sequence[str], at: datetime
) -> int:
    from runtime.streams.observations import announce

    places, stream = Places(engine), open_stream(settings.streams_url, FEATURES)
    try:
        return sum(announce(stream, places, reader, view, at) for view in views)
    finally:
        stream.close()


def bring_online_quietly(
    settings: Settings,
    engine: Engine,
    reader: LakeReader,
    bundles: Sequence[LoadedBundle],
    *,
    at: datetime,
) -> None:
    """Bring online what bundles read, after their session; a failure is logged and ends here."""
    try:
        brought = bring_online(settings, engine, reader, wanted_by(bundles), at=at)
    except (PlatformError, OSError) as error:
        away = isinstance(error, OnlineUnavailable | LakeUnavailable | OSError)
        said = "the online store keeps its older values" if away else "nothing was brought online"
        log.warning("%s: %s", said, error)
        return
    if brought.unannounced:
        log.warning("features are not announced, the next session does: %s", brought.unannounced)


def open_outbox(settings: Settings, engine: Engine, account: str) -> Outbox:
    """Open the way out for an account's decisions; no stream is opened before there is one."""
    return Outbox(
        journal=JournalQueries(engine, account),
        places=Places(engine),
        open_stream=lambda name: open_stream(settings.streams_url, name),
    )
