"""Announces on `features.pit` what became known of a view since it was announced last.

The place of a view is a version of its table and an instant: what that version knew at that instant
is out. What is known now and was not then is new, whether it is a new session, a revision of an old
one, or a row that arrived late. Nothing out yet, or a version that a vacuum took: the newest
observation of each entity is announced.
"""

from datetime import datetime

import polars as pl

from featurestore.errors import LakeUnavailable, SnapshotUnknown
from featurestore.reader import LakeReader
from featurestore.times import instant, micros
from runtime.streams.messages import FEATURES, message, observations_of
from runtime.streams.places import Place, Places
from runtime.streams.port import Stream

KEY = ("entity", "event_time", "revision")  # what makes an observation this one and no other
BATCH = 500  # messages published at a time


def announce(stream: Stream, places: Places, reader: LakeReader, view: str, at: datetime) -> int:
    """Publish what became known of a view and was not announced; return how many observations.

    Args:
        stream: `features.pit`.
        places: where each view stands.
        reader: the snapshot to read.
        view: its name.
        at: UTC; what becomes known later is left for later.

    Raises:
        StreamUnavailable: nothing is lost, the next call begins where this one did.
    """
    version, before = reader.snapshot.versions[view], places.of(FEATURES, view)
    if before is not None and before.seq == version and micros(at) <= before.at:
        return 0  # an earlier instant of the same version: all of it is out
    known = reader.rows(view).filter(pl.col("known_at") <= at)
    fresh = _newest(known) if before is None else _added(reader, view, known, before)
    found = observations_of(reader.view(view), fresh.sort("known_at", *KEY))
    for start in range(0, len(found), BATCH):
        stream.publish([message(each) for each in found[start : start + BATCH]])
    places.move(FEATURES, view, Place(seq=version, at=micros(at)))
    return len(found)


def _newest(known: pl.DataFrame) -> pl.DataFrame:
    """Return each entity's newest observation in its latest revision."""
    return known.sort("event_time", "revision").unique("entity", keep="last")


def _added(reader: LakeReader, view: str, known: pl.DataFrame, before: Place) -> pl.DataFrame:
    """Return the rows that the place before did not know."""
    try:
        held = reader.source.lake.read(view, version=before.seq, columns=[*KEY, "known_at"])
    except (SnapshotUnknown, LakeUnavailable):
        return _newest(known)
    held = held.filter(pl.col("known_at") <= instant(before.at))
    return known.join(held, on=list(KEY), how="anti")
