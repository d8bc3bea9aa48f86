"""Puts an engine together for an account: lake, paper venues, policy, journal, kill switch.

The one place that looks behind the lake's seals for trading: what is traded was promoted before.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType

from featurestore.calendars import Calendar, Session, load_calendar
from featurestore.features.serving import contract_hash, view_names
from featurestore.lake import Lake
from featurestore.reader import LakeReader
from featurestore.seals import Opening
from featurestore.snapshots import Snapshot
from featurestore.store import FeatureStore
from runtime.bundles.bundle import LoadedBundle, VerifiedBundle, load_bundle, verify_bundle
from runtime.bundles.inputs import CurrentWeights, MarketReader
from runtime.bundles.signing import load_trusted
from runtime.clock import Clock, ReplayClock
from runtime.desk import Desk
from runtime.engine import Engine, SessionOutcome
from runtime.errors import BundleRefused
from runtime.feeds import LakeFeed
from runtime.journal.store import Journal
from runtime.kill.switch import KillSwitch
from runtime.policies.log import PolicyLog
from runtime.policies.policy import Policy, default_policy, load_policy
from runtime.registry import Change
from runtime.replay import ReplayResult, replay
from runtime.scheduling.fence import Fence
from service.books.accounts import replay_account
from service.databases import open_runtime
from service.faults import NotFound, QueryInvalid
from service.records import open_journal, open_registry
from service.settings import Settings
from service.trading.actions import actions_of
from service.trading.halts import halted_of
from service.trading.paper import paper_market, venues_of
from service.trading.seat import Seat

OPENING = Opening(
    by="runtime", purpose="trades a promoted bundle over the years after its research"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What the journal holds of the days that were asked for, whichever call ran them."""

    bundle: LoadedBundle
    ran: int  # sessions that this call ran; the others were closed before
    days: int  # sessions of the range
    first: date
    last: date
    result: ReplayResult
    journal: Journal


def active_bundle(settings: Settings) -> LoadedBundle:
    """Return the bundle that the registry has in the champion's seat, verified.

    Raises:
        NotFound: the seat is empty.
        BundleRefused: nothing that ever sat there verifies.
    """
    registry = open_registry(settings, open_runtime(settings))

    seat = Seat(registry, lambda change: load_seated(settings, change))
    bundle = seat.refresh()
    if bundle is None:
        if seat.refused:
            raise BundleRefused(seat.refused)
        raise NotFound("no bundle is active", "promote one with sluice promote STUDY")
    return bundle


def load_seated(settings: Settings, change: Change) -> LoadedBundle:
    """Load the bundle that a change put into a seat, under the signature it names."""
    folder = settings.bundles / change.bundle
    return load_bundle(folder, load_trusted(settings.trusted_keys), change.promotion)


def verify_seated(settings: Settings, change: Change) -> VerifiedBundle:
    """Verify the bundle that a change put into a seat, under the signature it names."""
    folder = settings.bundles / change.bundle
    return verify_bundle(folder, load_trusted(settings.trusted_keys), change.promotion)


def market_reader(
    settings: Settings, bundle: LoadedBundle, *others: LoadedBundle, newest: bool = False
) -> LakeReader:
    """Open the data a bundle trades on.

    Args:
        settings: names the lake.
        bundle: pins the versions it was promoted on.
        others: read the same data.
        newest: read what the lake holds now instead; live trading does.

    Raises:
        BundleRefused: a feature view is not declared as it was when the bundle was promoted.
    """
    pinned = bundle.manifest.snapshot
    store = FeatureStore(Lake(settings.lake_url))
    snapshot = store.snapshot() if newest else Snapshot(versions=pinned.versions, hash=pinned.hash)
    reader = store.reader(snapshot, opening=OPENING)
    for declared in (one for every in (bundle, *others) for one in every.manifest.inputs):
        if isinstance(declared.source, CurrentWeights):
            continue
        feature = declared.source.feature
        if contract_hash(feature, reader.view) != declared.view_hash:
            raise BundleRefused(
                f"manifest.json: input {declared.name} was promoted on another declaration of "
                f"{feature}, or of view {', '.join(view_names(feature))}, than this lake holds"
            )
    return reader


def open_desk(
    settings: Settings,
    bundle: LoadedBundle,
    reader: MarketReader,
    *,
    account: str,
    clock: Clock,
    freshness: Mapping[str, timedelta] = MappingProxyType({}),
    policies: PolicyLog | None = None,
    fence: Fence | None = None,
    standing: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Desk:
    """Put together everything one engine needs; paper venues keep their own files.

    Args:
        settings: where everything lies.
        bundle: what decides.
        reader: point-in-time data.
        account: whose books and venue records are used.
        clock: wall or replay.
        freshness: view name -> age allowed; the policy's limit holds for the others.
        policies: the record that live trading follows, with its reloads and overrides; None = the
            file alone, for ever, as a replay needs it.
        fence: the right to write for the account; None where no other process can, as in a replay.
        standing: what surrounds each call that changes something at a venue.
    """
    engine = open_runtime(settings)
    registry = open_registry(settings, engine)
    manifest = bundle.manifest

    seat = Seat(registry, lambda change: verify_seated(settings, change))

    def approved() -> str | None:
        """Return the bundle that may trade: the registry's, or the last before it that verifies."""
        sitting = seat.refresh()
        return None if sitting is None else sitting.hash

    journal = open_journal(settings, engine, account, fence)
    symbols = _traded(journal, manifest.symbols)
    return Desk(
        bundle=bundle,
        reader=reader,
        feed=LakeFeed(reader, manifest.price_feature),
        journal=journal,
        brokers=venues_of(settings, account, reader, manifest.price_feature, symbols),
        policy=_policy(settings) if policies is None else policies.policy_at(clock.now()),
        limits=None if policies is None else policies.policy_at,
        calendar=load_calendar(manifest.calendar),
        clock=clock,
        kill=KillSwitch.create(settings.workspace / "kill"),
        approved=approved,
        halts=halted_of(settings, symbols),
        freshness=freshness,
        volume=paper_market(settings).volume or "",
        standing=standing,
        actions=actions_of(reader, manifest),
    )


def _traded(journal: Journal, universe: Sequence[str]) -> Callable[[], tuple[str, ...]]:
    """Return what names the universe, and what is held beside it whenever it is asked."""
    return lambda: (*universe, *journal.book().quantities())


def _policy(settings: Settings) -> Policy:
    return default_policy() if settings.policy is None else load_policy(settings.policy)


def replay_bundle(
    settings: Settings,
    bundle: LoadedBundle,
    *,
    first: date | None = None,
    last: date | None = None,
    on_start: Callable[[int], None] = lambda _: None,
    on_session: Callable[[SessionOutcome], None] | None = None,
    members: Sequence[LoadedBundle] = (),
    man: Callable[[Desk], Desk] = lambda desk: desk,
) -> Replayed:
    """Trade a bundle on paper over past sessions, for an account that only its replays use.

    It goes on where the journal of that account stands; other bundles and live trading are not
    touched.

    Args:
        settings: where everything lies.
        bundle: what decides.
        first: first session; None = the first day of the bundle's sealed holdout.
        last: last session; None = the last day of the holdout.
        on_start: told how many sessions are still to run.
        on_session: told after each session.
        members: where `bundle` stands for several, these; the days are sealed for all of them.
        man: sits them at the desk.

    Raises:
        QueryInvalid: the days are not in order, hold no session, lie in the research window, or
            begin before the first one that the account has closed.
    """
    bundles = members or (bundle,)
    calendar = load_calendar(bundle.manifest.calendar)
    days = _sealed_days(bundles, calendar, first, last)
    clock = ReplayClock(days[0].open)
    reader = market_reader(settings, bundle, *members)
    features = {name for one in bundles for name in _features(one)}
    views = {view for feature in features for view in view_names(feature)}
    freshness = {name: reader.view(name).freshness for name in views}
    account = replay_account(bundle.hash)
    desk = open_desk(settings, bundle, reader, account=account, clock=clock, freshness=freshness)
    desk = man(desk)
    left = _left_to_run(desk.journal, [session.day for session in days])
    on_start(left)
    result = replay(Engine(desk), calendar, days[0].day, days[-1].day, on_session)
    return Replayed(
        bundle=bundle,
        ran=left,
        days=len(days),
        first=days[0].day,
        last=days[-1].day,
        result=result,
        journal=desk.journal,
    )


def _sealed_days(
    bundles: Sequence[LoadedBundle], calendar: Calendar, first: date | None, last: date | None
) -> tuple[Session, ...]:
    """Return the sessions asked for, of days that every bundle's research left sealed."""
    windows = [one.manifest.holdout_window for one in bundles]
    begins = max(date.fromisoformat(begin) for begin, _ in windows)
    ends = min(date.fromisoformat(end) for _, end in windows)
    start, end = first or begins, last or ends
    if start > end:
        raise QueryInvalid(f"the first day {start} lies after the last, {end}", "exchange them")
    if start < begins:
        raise QueryInvalid(
            f"{start} lies in the years the bundle was researched on, which end before {begins}",
            f"begin with {begins} or later",
        )
    days = calendar.sessions(start, end)
    if not days:
        raise QueryInvalid(f"{calendar.name} has no session from {start} to {end}", "ask for more")
    return days


def progress_note(outcome: SessionOutcome) -> str:
    """Return what a progress bar says of a session."""
    equity = "not closed" if outcome.equity is None else f"equity {outcome.equity:,.0f} USD"
    return f"{outcome.day}  {equity}"


def _left_to_run(journal: Journal, days: Sequence[date]) -> int:
    """Return how many sessions are still to run; QueryInvalid if it passed over all the days."""
    last = journal.last_session()
    if last is None:
        return len(days)
    closed = [point.day for point in journal.equity_curve()]
    left = sum(day > last.day for day in days)
    if days[0] < closed[0] or not (left or set(closed) & set(days)):
        raise QueryInvalid(
            f"account {journal.account} has traded {closed[0]} to {closed[-1]}, and a journal does "
            f"not go back to sessions of {days[0]} to {days[-1]} that it passed over",
            f"begin with {closed[0]} or later, or replay in a new workspace",
        )
    return left


def _features(bundle: LoadedBundle) -> set[str]:
    """Return every feature a bundle reads, the price it is marked on included."""
    sources = (one.source for one in bundle.manifest.inputs)
    read = {one.feature for one in sources if not isinstance(one, CurrentWeights)}
    return read | {bundle.manifest.price_feature}
