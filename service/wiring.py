"""Picks the adapters that settings name and puts the live application together; no research."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Engine

from runtime.alerts.book import AlertBook
from runtime.bundles.inputs import Input
from runtime.bundles.signing import TrustedKeys, load_trusted
from runtime.chain import ChainedLog
from runtime.clock import WallClock
from runtime.database import open_database
from runtime.errors import BundleRefused, KeyUnusable
from runtime.joint.identity import JointLog
from runtime.joint.shadow_log import TABLE as SHADOWS
from runtime.registry import Registry
from service.books.accounts import LIVE, Accounts
from service.books.index import Index
from service.books.origins import Origins
from service.books.reading import Reading
from service.books.shelf import LedgerView, Shelf
from service.databases import open_runtime
from service.live import Live
from service.operator.killing import open_killing
from service.operator.policies import open_policies
from service.operator.registrar import open_registrar
from service.records import open_journal, open_registry
from service.settings import Settings
from service.trading.proof import Proved, prove_apart
from service.trading.seat import Seat
from service.web.health import HealthChecks, Looking
from service.web.snapshots import Snapshots


def open_live(
    settings: Settings,
    *,
    monotonic: Callable[[], float],
    prove: Callable[[Path, TrustedKeys], Proved] = prove_apart,
) -> Live:
    """Open journal, registry, bundles and ledger as the settings say.

    Args:
        settings: from `read_settings`.
        monotonic: seconds; ages the encoded answers.
        prove: how bundles are proved, by default in a process of their own.

    Raises:
        DatabaseUnavailable: a database does not answer.
    """
    settings.workspace.mkdir(parents=True, exist_ok=True)
    engine = open_runtime(settings)
    journal, registry = open_journal(settings, engine, LIVE), open_registry(settings, engine)

    def trusted() -> TrustedKeys:
        return load_trusted(settings.trusted_keys)

    shelf = Shelf(settings.bundles, trusted, prove)
    seat = Seat(registry, shelf.seated, monotonic=monotonic)

    policies = open_policies(settings, engine)
    policies.begin()
    accounts = _accounts(settings, engine, shelf)
    health = HealthChecks(accounts, seat, lambda: _warm(registry, shelf))
    shadows = ChainedLog(engine, SHADOWS)
    return Live(
        settings=settings,
        registry=registry,
        registrar=open_registrar(engine, registry, journal, WallClock()),
        seat=seat,
        shelf=shelf,
        accounts=accounts,
        origins=Origins(
            accounts=accounts,
            shelf=shelf,
            joints=JointLog(engine),
            ledger=open_ledger_view(settings),
        ),
        health=health,
        looking=Looking(health.look, monotonic),
        snapshots=Snapshots(lambda: (journal.head(), registry.head(), shadows.head()), monotonic),
        policies=policies,
        killing=open_killing(settings, WallClock()),
        alerts=AlertBook.create(settings.raised),
        operator_tokens=_operator_tokens(settings),
    )


def _accounts(settings: Settings, engine: Engine, shelf: Shelf) -> Accounts:
    """Return every account's books, as they are shown."""

    def inputs_of(bundle: str) -> Mapping[str, Input]:
        try:
            declared = shelf.bundle(bundle).manifest.inputs
        except (BundleRefused, KeyUnusable):
            return {}
        return {one.name: one.source for one in declared}

    def books(account: str) -> Reading:
        kept = open_journal(settings, engine, account)
        return Reading(journal=kept, index=Index(kept), inputs_of=inputs_of)

    live, registry = open_journal(settings, engine, LIVE), open_registry(settings, engine)
    return Accounts(books, live, registry, settings.account)


def _warm(registry: Registry, shelf: Shelf) -> None:
    """Prove what a roll-back would seat, so that rolling back waits for no proof."""
    before = registry.before()
    if before is not None:
        with suppress(BundleRefused, KeyUnusable):
            shelf.seated(before)


def _operator_tokens(settings: Settings) -> Callable[[], tuple[str, ...]]:
    """Return how to ask which tokens count: the newest and the one before, if they can change."""
    if settings.secrets is not None:
        changing = settings.secrets.rotating("SLUICE_OPERATOR_TOKEN")
        if changing is not None:
            return changing
    fixed = (settings.operator_token,) if settings.operator_token else ()
    return lambda: fixed


def open_ledger_view(settings: Settings) -> LedgerView | None:
    """Return the view of the ledger, None if this host has none (a production host)."""
    parts = urlsplit(settings.ledger_url)
    if parts.scheme == "sqlite" and not Path(parts.path.removeprefix("/")).is_file():
        return None
    return LedgerView.over(open_database(settings.ledger_url))
