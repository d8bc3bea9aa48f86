"""Where research happens: the lake, the ledger and the seal, found from a folder or its variable.

A workspace is written once as `<folder>/workspace.json`; kernels and workers open the same one.
Variables that are looked at: SLUICE_WORKSPACE, SLUICE_LAKE_URL, SLUICE_LEDGER_URL, SLUICE_RUN;
JPY_SESSION_NAME, in which Jupyter tells a kernel its notebook; JUPYTERHUB_USER or USER, who reads.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, time
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from featurestore.extent import Extent
from featurestore.horizon import earlier_end
from featurestore.lake import Lake
from featurestore.reader import LakeReader
from featurestore.seals import Opening
from featurestore.snapshots import Snapshot
from featurestore.store import FeatureStore
from pipelines.door import at_a_prompt, in_kernel
from pipelines.errors import WorkspaceMissing
from pipelines.ledger import Lease, Ledger, open_ledger
from pipelines.panel import Panel
from pipelines.study import Study
from runtime.bundles.contract import DataSnapshot, canonical
from runtime.clock import Clock, WallClock
from runtime.decoding import from_json

FILE = "workspace.json"
DEFAULT = Path(".sluice/demo")
ANCHOR = "ledger.head"
SCRATCH = "scratch"  # of a lake on object storage: what can be computed anew
_CHECKS: ContextVar[bool] = ContextVar("sluice_platform_checks", default=False)


@contextmanager
def platform_checks() -> Iterator[None]:
    """Let readers that an audit or a promotion opens meanwhile charge no question.

    Open the reader inside and leave: no cell of a notebook may run in here.
    """
    token = _CHECKS.set(True)
    try:
        yield
    finally:
        _CHECKS.reset(token)


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """What workspace.json says; nothing secret is written."""

    lake_url: str | None = None  # None = inside the workspace
    ledger_url: str | None = None  # None = inside the workspace, or told by SLUICE_LEDGER_URL
    snapshot: DataSnapshot | None = None  # None = the newest


class Workspace:
    """One research workspace, as one process sees it; readers and panels are kept."""

    def __init__(
        self,
        path: Path,
        *,
        lake_url: str | None = None,
        ledger_url: str | None = None,
        snapshot: Snapshot | None = None,
        run: str | None = None,
        notebook: str = "",
        by: str = "",
        clock: Clock | None = None,
    ) -> None:
        """Name the parts; nothing is opened before it is used.

        Args:
            path: the workspace's folder.
            lake_url: Delta tables; None = a folder inside the workspace.
            ledger_url: SQLAlchemy URL; None = a SQLite file inside the workspace.
            snapshot: pinned data; None = the newest, hashed when first asked for.
            run: id of the run this process belongs to.
            notebook: path of the notebook this process serves; empty if unknown.
            by: who reads; empty if unknown.
            clock: stamps the ledger's entries; None = the wall clock.
        """
        self.path = path.absolute()
        self.lake_url = lake_url or str(self.path / "lake")
        self.ledger_url = ledger_url or f"sqlite:///{self.path / 'research.db'}"
        self.run, self.notebook, self.by = run, notebook, by
        self._reads_for = (run, notebook)  # whom the leases of reads name
        self._studying = ""  # the study that this process opened last
        self._given = _Record(lake_url=lake_url, ledger_url=ledger_url)
        self._pinned = snapshot
        self._clock: Clock = clock or WallClock()
        self._readers: dict[tuple[str, datetime], LakeReader] = {}  # by study and seal
        self._panels: dict[bytes, Panel] = {}
        self._ledger: Ledger | None = None
        self._guard = threading.Lock()

    def __repr__(self) -> str:
        return f"Workspace({str(self.path)!r})"

    def stands_for(self, other: "Workspace") -> bool:
        """Say whether both read the same pinned data and record in the same name and place."""
        mine, theirs = (
            (w.path, w.lake_url, w.ledger_url, w.run, w.notebook, w.by, w._pinned)
            for w in (self, other)
        )
        return self._pinned is not None and mine == theirs

    @cached_property
    def snapshot(self) -> Snapshot:
        """Return the data snapshot that trials of this workspace are evaluated on."""
        return self._pinned if self._pinned is not None else self.store().snapshot()

    def store(self) -> FeatureStore:
        """Open the feature store; whatever is read through it leaves a lease."""
        return self._store(self._lease)

    def _store(self, on_read: Callable[[LakeReader, str, str, Extent], None]) -> FeatureStore:
        return FeatureStore(Lake(self.lake_url, scratch=str(self.path / SCRATCH)), on_read=on_read)

    def ledger(self) -> Ledger:
        """Open the ledger, once; its head is remembered in a file beside it."""
        with self._guard:
            if self._ledger is None:
                self._ledger = open_ledger(
                    self.ledger_url, clock=self._clock, anchor=self.path / ANCHOR
                )
        return self._ledger

    def research_reader(self, study: Study) -> LakeReader:
        """Return the reader of a study's trials: the holdout is sealed and not even loaded.

        It is kept for the next call; in a world that ends early every call opens its own.
        """
        seal = datetime.combine(study.holdout.start, time(), UTC)
        self._studying = study.name
        ended = earlier_end(None) is not None
        if not ended and (study.name, seal) in self._readers:
            return self._readers[study.name, seal]
        store = self.store()
        store.seal(study.name, seal)
        reader = store.reader(self.snapshot, sealed_from=seal, study=study.name)
        if not ended:
            self._readers[study.name, seal] = reader
        return reader

    def exploring_reader(self) -> LakeReader:
        """Return a reader for looking around outside any study; it ends before the earliest seal.

        Its leases name the study that this process opened last, if any. If none, every question
        whose prices were read is charged that later records a trial.
        """
        return self._store(self._look).reader(self.snapshot)

    def platform_reader(
        self, study: Study | None = None, *, opening: Opening | None = None
    ) -> LakeReader:
        """Return a reader for a check that hands nobody a price.

        Opened inside `platform_checks` by a program, its leases charge no question. In a kernel, at
        a prompt, in the name of a run, or by anybody else, they are ordinary ones, and charged.

        Args:
            study: up to whose seal; None = the earliest seal.
            opening: of the seals, by a promotion that has spent the holdout.
        """
        watched = self.run is not None or in_kernel() or at_a_prompt()
        store = self._store(self._check if _CHECKS.get() and not watched else self._look)
        if study is None:
            return store.reader(self.snapshot, opening=opening)
        seal = datetime.combine(study.holdout.start, time(), UTC)
        store.seal(study.name, seal)
        return store.reader(self.snapshot, sealed_from=seal, study=study.name, opening=opening)

    def read_for(self, run: str | None, notebook: str) -> None:
        """Let reads from now on name a recorded trial's run and notebook; it answers for them.

        A process that stands in a run or a notebook itself goes on reading in its own name.
        """
        if self.run is None and not self.notebook:
            self._reads_for = (run, notebook)

    def _look(self, reader: LakeReader, study: str, view: str, extent: Extent) -> None:
        """Record a look around beside the study that this process opened last."""
        self._lease(reader, study or self._studying, view, extent)

    def _check(self, reader: LakeReader, study: str, view: str, extent: Extent) -> None:
        """Record what an audit or a promotion reads."""
        self._lease(reader, study, view, extent, platform=True)

    def read_for_itself(self) -> None:
        """Let reads from now on name the run and notebook of this process again."""
        self._reads_for = (self.run, self.notebook)

    def _lease(
        self, reader: LakeReader, study: str, view: str, extent: Extent, *, platform: bool = False
    ) -> None:
        """Record what a reader of research is about to hand out."""
        seal = reader.sealed_from
        lease = Lease(
            study=study,
            view=view,
            version=reader.snapshot.versions[view],
            snapshot_hash=reader.snapshot.hash,
            columns=tuple(field.name for field in reader.view(view).fields),
            first=None if extent.first is None else extent.first.isoformat(),
            last=None if extent.last is None else extent.last.isoformat(),
            rows=extent.rows,
            sealed_from=None if seal is None else seal.isoformat(),
            run=self._reads_for[0],
            notebook=self._reads_for[1],
            by=self.by,
            platform=platform,
        )
        self.ledger().reads.take(lease)

    def research_panel(self, study: Study) -> Panel:
        """Return the dates, prices and benchmark that all trials of a study share."""
        reader, key = self.research_reader(study), canonical(study.declaration())
        if reader.truncated_at is not None:
            return Panel(reader, study, study.research)
        if key not in self._panels:
            self._panels[key] = Panel(reader, study, study.research)
        return self._panels[key]

    def save(self) -> Path:
        """Write workspace.json with the snapshot pinned; return its path."""
        given = self._given.ledger_url
        secret = given is not None and urlsplit(given).password is not None
        record = _Record(
            lake_url=self._given.lake_url,
            ledger_url=None if secret else given,
            snapshot=DataSnapshot(versions=self.snapshot.versions, hash=self.snapshot.hash),
        )
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / FILE
        beside = path.with_suffix(".new")
        beside.write_bytes(msgspec.json.format(canonical(record), indent=2) + b"\n")
        beside.replace(path)
        return path


def open_workspace(
    path: Path | str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    clock: Clock | None = None,
) -> Workspace:
    """Open the workspace that is named, or the one this process stands in.

    Args:
        path: folder; None = SLUICE_WORKSPACE, then `.sluice/demo` here or in a parent folder.
        environ: variables; URLs in it win over workspace.json.
        clock: stamps the ledger's entries; None = the wall clock.

    Raises:
        WorkspaceMissing: no such folder, or its workspace.json does not read; says what to do.
    """
    named = path or environ.get("SLUICE_WORKSPACE") or _nearest(Path.cwd())
    if named is None:
        raise WorkspaceMissing(
            "no workspace here: run `just demo` once, or set SLUICE_WORKSPACE to a folder that "
            "holds workspace.json"
        )
    folder = Path(named)
    try:
        record = from_json((folder / FILE).read_bytes(), _Record)
    except FileNotFoundError:
        raise WorkspaceMissing(
            f"{folder} holds no {FILE}: run `just demo` once, or name another folder"
        ) from None
    except msgspec.DecodeError as error:
        raise WorkspaceMissing(f"{folder / FILE} does not read ({error}); make it anew") from error
    pinned = record.snapshot
    return Workspace(
        folder,
        lake_url=environ.get("SLUICE_LAKE_URL") or record.lake_url,
        ledger_url=environ.get("SLUICE_LEDGER_URL") or record.ledger_url,
        snapshot=None if pinned is None else Snapshot(versions=pinned.versions, hash=pinned.hash),
        run=environ.get("SLUICE_RUN") or None,
        notebook=_notebook(environ.get("JPY_SESSION_NAME", "")),
        by=environ.get("JUPYTERHUB_USER") or environ.get("USER") or "",
        clock=clock,
    )


def _nearest(start: Path) -> Path | None:
    """Return the default workspace of this folder or of the closest parent that has one."""
    for folder in (start, *start.parents):
        if (folder / DEFAULT / FILE).is_file():
            return folder / DEFAULT
    return None


def _notebook(session: str) -> str:
    """Return the session's name if it is a notebook's path."""
    return session if session.endswith(".ipynb") and Path(session).is_file() else ""
