"""The lake: append-only Delta tables by URL, read at pinned versions."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import polars as pl
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from featurestore.errors import FeatureStoreError, LakeUnavailable, SnapshotUnknown
from featurestore.frontier_files import FrontierFiles

# LZ4 reads about four times faster than zstd for a tenth more bytes.
# A dictionary pays for keys, which repeat; measured values are written plainly.
_REPEATED = ColumnProperties(dictionary_enabled=True)
_WRITER = WriterProperties(
    compression="LZ4_RAW",
    default_column_properties=ColumnProperties(dictionary_enabled=False),
    column_properties=dict.fromkeys(
        ("entity", "event_time", "known_at", "revision", "source"), _REPEATED
    ),
)
# Two writers that checked the same version must not both append: Delta refuses the second commit.
_WRITER_ID = "sluice-ingest"
# A pinned version must stay readable for years: the log of a table is never cut short.
_CONFIGURATION = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
}
_AFTERWARDS = PostCommitHookProperties(cleanup_expired_logs=False)
_FRONTIERS = "_frontiers"  # beside the tables, none of which may be called so
_FAULTS = (DeltaError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)


@dataclass(frozen=True, slots=True)
class Lake:
    """A folder or bucket of Delta tables.

    `url` is a local path or an object-storage URL; `storage_options` go to its driver as they are.
    What can be computed anew is kept beside a local lake's tables, and for one on object storage in
    the local folder `scratch`; None = it is not kept.
    """

    url: str
    storage_options: Mapping[str, str] = field(default_factory=dict)
    scratch: str | None = None

    def table_url(self, table: str) -> str:
        """Return where a table lies."""
        return f"{self.url.rstrip('/')}/{table}"

    def frontiers(self) -> FrontierFiles | None:
        """Return where frontiers of the views are kept for the next reader; None = nowhere."""
        folder = self._folder()
        if folder is not None:
            return FrontierFiles(folder / _FRONTIERS)
        if self.scratch is None:
            return None
        return FrontierFiles(Path(self.scratch, hashlib.sha256(self.url.encode()).hexdigest()[:16]))

    def version(self, table: str) -> int | None:
        """Return the newest version of a table; None if nothing was ever written to it."""
        with _named_faults(table, "read"):
            try:
                return int(self._open(table, None).version())
            except TableNotFoundError:
                return None

    def append(
        self,
        table: str,
        frame: pl.DataFrame,
        *,
        after: int | None,
        partition_by: Sequence[str] = (),
    ) -> int:
        """Append rows in one atomic commit and return the new version.

        Args:
            table: table name.
            frame: rows, in the order in which they shall lie in the file.
            after: version that the caller checked against; None = the table did not exist.
            partition_by: columns that name the sub-folders.

        Raises:
            LakeUnavailable: not writable, or another writer committed meanwhile; nothing was added.
        """
        folder = self._folder()
        if folder is not None:
            with _named_faults(table, "write"):
                folder.mkdir(parents=True, exist_ok=True)
        # Who makes a table must be the first; an append may step over a compaction, not a writer.
        mark = Transaction(_WRITER_ID, 0 if after is None else after + 1)
        retries = 0 if after is None else None
        commit = CommitProperties(app_transactions=[mark], max_commit_retries=retries)
        with _named_faults(table, "write"):
            target = self.table_url(table) if after is None else self._open(table, after)
            write_deltalake(
                target,
                frame,
                mode="error" if after is None else "append",
                partition_by=list(partition_by) or None,
                writer_properties=_WRITER,
                storage_options=dict(self.storage_options) or None,
                configuration=_CONFIGURATION if after is None else None,
                commit_properties=commit,
                post_commithook_properties=_AFTERWARDS,
            )
            return int(self._open(table, None).version())

    def read(
        self,
        table: str,
        *,
        version: int,
        columns: Sequence[str] | None = None,
        known_before: datetime | None = None,
        events: tuple[datetime, datetime] | None = None,
    ) -> pl.DataFrame:
        """Read a table as it was at `version`.

        Args:
            table: table name.
            version: Delta version, pinned.
            columns: columns wanted; None = all.
            known_before: leave out rows whose known_at is at or after this; None = keep all.
            events: first and last event_time wanted, of a table filed by year; None = all.

        Raises:
            SnapshotUnknown: no such table or version.
            LakeUnavailable: a file is unreadable or damaged.
        """
        with _named_faults(table, "read"):
            opened = self._pinned(table, version)
            self._require_whole(table, opened)
            rows = pl.scan_delta(opened)
            if events is not None:
                first, last = events
                rows = rows.filter(
                    pl.col("year").is_between(first.year, last.year)
                    & pl.col("event_time").is_between(first, last)
                )
            if known_before is not None:
                rows = rows.filter(pl.col("known_at") < known_before)
            if columns is not None:
                rows = rows.select(columns)
            return rows.collect(engine="in-memory")

    def fingerprint(self, table: str, version: int) -> str:
        """Return a hash of which files a table version consists of, hex.

        Files are never changed once they are written, so equal fingerprints mean equal rows. The
        reverse does not hold: compaction puts the same rows into other files.

        Raises:
            SnapshotUnknown, LakeUnavailable: as `read`.
        """
        with _named_faults(table, "read"):
            opened = self._pinned(table, version)
            self._require_whole(table, opened)
            return _fingerprint(opened)

    def files(self, table: str) -> int:
        """Return how many files the newest version of a table consists of."""
        with _named_faults(table, "read"):
            return len(self._open(table, None).file_uris())

    def compact(self, table: str) -> int:
        """Join the small files of each folder into large ones; return the newest version.

        What the table holds stays the same, and so does every pinned version. Appends go on
        meanwhile.

        Raises:
            LakeUnavailable: the table cannot be read or written; it is as it was.
        """
        with _named_faults(table, "compact"):
            opened = self._open(table, None)
            opened.optimize.compact(
                writer_properties=_WRITER, post_commithook_properties=_AFTERWARDS
            )
            return int(self._open(table, None).version())

    def vacuum(self, table: str, *, keep: Collection[int], older_than: timedelta) -> int:
        """Delete files that neither the newest version nor a pinned one needs.

        Args:
            table: table name.
            keep: versions that somebody pins; the newest is kept anyway.
            older_than: leave files alone that were given up more recently; a writer or reader at
                work may need them. Whole hours.

        Returns:
            How many files were deleted.

        Raises:
            SnapshotUnknown: a pinned version is not in the table; nothing is deleted.
            LakeUnavailable: the table cannot be read or written.
        """
        with _named_faults(table, "vacuum"):
            opened = self._open(table, None)
            newest = int(opened.version())
            unknown = sorted(version for version in keep if not 0 <= version <= newest)
            if unknown:
                raise SnapshotUnknown(
                    f"version {unknown[0]} of table {table} is pinned but not in the lake "
                    f"{self.url}; newest is {newest}; nothing was deleted"
                )
            deleted = opened.vacuum(
                retention_hours=int(older_than.total_seconds() // 3600),
                enforce_retention_duration=False,
                dry_run=False,
                keep_versions=sorted({*keep, newest}),
                post_commithook_properties=_AFTERWARDS,
            )
            held = self.frontiers()
            if held is not None:
                kept = {_fingerprint(self._open(table, version)) for version in {*keep, newest}}
                held.forget(table, but=kept)
            return len(deleted)

    def _pinned(self, table: str, version: int) -> DeltaTable:
        try:
            return self._open(table, version)
        except TableNotFoundError:
            raise SnapshotUnknown(
                f"table {table} is not in the lake {self.url}; ingest it first"
            ) from None
        except DeltaError as fault:
            raise SnapshotUnknown(
                f"version {version} of table {table} is not in the lake {self.url}: {fault}; "
                f"newest is {self.version(table)}"
            ) from fault

    def _folder(self) -> Path | None:
        """Return where a local lake lies; None for one on object storage."""
        scheme, _, path = self.url.rpartition("://")
        if scheme not in ("", "file"):
            return None
        return Path(unquote(path) if scheme else path)

    def _require_whole(self, table: str, opened: DeltaTable) -> None:
        """Refuse a table whose local files are gone or cut short; drivers crash on those."""
        folder = self._folder()
        if folder is None:
            return
        for path, size in _contents(opened).iter_rows():
            file = folder / table / unquote(path)
            found = file.stat().st_size if file.is_file() else 0
            if found != size:
                raise LakeUnavailable(
                    f"table {table}: file {path} is {found} bytes, {size} were written; "
                    "restore it from a copy, or ingest into a new lake"
                )

    def _open(self, table: str, version: int | None) -> DeltaTable:
        options = dict(self.storage_options) or None
        return DeltaTable(self.table_url(table), version=version, storage_options=options)


def _contents(opened: DeltaTable) -> pl.DataFrame:
    """Return path and size of every file of a table version."""
    return pl.DataFrame(opened.get_add_actions(flatten=True)).select("path", "size_bytes")


def _fingerprint(opened: DeltaTable) -> str:
    files = sorted(_contents(opened).iter_rows())
    return hashlib.sha256(json.dumps([str(opened.metadata().id), files]).encode()).hexdigest()


@contextmanager
def _named_faults(table: str, deed: str) -> Iterator[None]:
    """Turn a driver's fault into one sentence that names the table."""
    try:
        yield
    except TableNotFoundError:
        raise
    except FeatureStoreError:
        raise
    except CommitFailedError as fault:
        raise LakeUnavailable(
            f"table {table}: another writer was faster; nothing was added, send the rows again"
        ) from fault
    except _FAULTS as fault:
        if "already exists" in str(fault):
            raise LakeUnavailable(
                f"table {table}: another writer made it first; nothing was added, send the rows "
                "again"
            ) from fault
        first_line = str(fault).strip().splitlines()[0] if str(fault).strip() else repr(fault)
        raise LakeUnavailable(
            f"could not {deed} table {table}: {first_line}; "
            "check the path, its permissions and free space, then try again"
        ) from fault
