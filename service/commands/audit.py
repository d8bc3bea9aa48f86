"""`sluice audit`: whether journal, registry, ledger and leases are as they were written."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Engine, inspect

from runtime.chain import ChainedLog, Head
from runtime.database import open_database
from runtime.errors import JournalBroken
from runtime.joint.identity import TABLE as JOINTS
from runtime.joint.identity import JointLog
from runtime.joint.shadow_log import TABLE as SHADOWS
from runtime.joint.shadow_log import ShadowLog
from runtime.scheduling.slots import TABLE as SCHEDULE
from service.books.accounts import LIVE
from service.books.shelf import LEASES, LEDGER
from service.console import OK, REFUSED, Output
from service.databases import open_runtime
from service.faults import NotFound
from service.records import anchor, open_journal, open_registry
from service.settings import Settings, require_workspace

if TYPE_CHECKING:
    from rich.console import Console


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """One chain, recomputed from its first entry."""

    name: str
    verified: bool
    entries: int | None  # None if it does not hold
    head: str | None
    anchored: int | None  # heads remembered outside; None = no file outside the database
    problem: str  # names the first entry or row that does not hold; "" if all do


class AuditAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What `sluice audit` found."""

    verified: bool
    chains: tuple[Audited, ...]


def audit_records(settings: Settings, output: Output) -> int:
    """Verify every chain of the workspace and report; returns 1 if one does not hold."""
    require_workspace(settings)
    chains: list[Audited] = []
    if _exists(settings, settings.database_url, "journal", "registry"):
        engine = open_runtime(settings)
        journal = open_journal(settings, engine, LIVE)
        chains.append(_audited(settings, settings.database_url, "journal", journal.verify))
        registry = open_registry(settings, engine)
        chains.append(_audited(settings, settings.database_url, "registry", registry.verify))
        for name, verify in _beside(engine).items():
            chains.append(_audited(settings, settings.database_url, name, verify))
    if _exists(settings, settings.ledger_url, LEDGER):
        engine = open_database(settings.ledger_url)
        for name, table in ((LEDGER, LEDGER), ("leases", LEASES)):
            prove = partial(_research, settings, engine, name, table)
            chains.append(_audited(settings, settings.ledger_url, name, prove))
    if not chains:
        raise NotFound(f"{settings.workspace} holds no record yet", "run sluice demo first")
    answer = AuditAnswer(verified=all(chain.verified for chain in chains), chains=tuple(chains))
    output.answer(answer, _shower(answer))
    return OK if answer.verified else REFUSED


def _beside(engine: Engine) -> dict[str, Callable[[], Head]]:
    """Return the chains that are only there once live trading began, or several bundles trade."""
    known = inspect(engine).get_table_names()
    chains: dict[str, Callable[[], Head]] = {
        JOINTS: lambda: JointLog(engine).verify(),
        SHADOWS: lambda: ShadowLog(engine).verify(),
        SCHEDULE: lambda: ChainedLog(engine, SCHEDULE).verify(),
    }
    return {
        name: verify
        for name, verify in chains.items()
        if name in known and ChainedLog(engine, name).head().seq
    }


def _exists(settings: Settings, url: str, *names: str) -> bool:
    """Say whether a record is there; one that only its anchor remembers counts as there."""
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or Path(parts.path.removeprefix("/")).is_file():
        return True
    return any((settings.workspace / f"{name}.head").is_file() for name in names)


def _research(settings: Settings, engine: Engine, name: str, table: str) -> Head:
    kept = anchor(settings, settings.ledger_url, name)
    return ChainedLog(engine, table).verify(() if kept is None else kept.heads())


def _audited(settings: Settings, url: str, name: str, verify: Callable[[], Head]) -> Audited:
    kept = anchor(settings, url, name)
    head, problem = None, ""
    try:
        head = verify()
    except JournalBroken as error:
        problem = str(error)
    return Audited(
        name=name,
        verified=head is not None,
        entries=None if head is None else head.seq,
        head=None if head is None else head.hash,
        anchored=None if kept is None else len(kept.heads()),
        problem=problem,
    )


def _shower(answer: AuditAnswer) -> "Callable[[Console], None]":
    def show(console: "Console") -> None:
        for chain in answer.chains:
            if chain.verified:
                outside = (
                    "no head is remembered outside"
                    if chain.anchored is None
                    else f"{chain.anchored:,} heads remembered outside are met"
                )
                console.print(
                    f"[green]ok     [/green] [bold]{chain.name:<9}[/bold] "
                    f"{chain.entries:,} entries, {outside}, head {(chain.head or '')[:16]}"
                )
            else:
                console.print(f"[bold red]refused[/bold red] [bold]{chain.name:<9}[/bold]", end=" ")
                console.print(chain.problem, markup=False)

    return show
