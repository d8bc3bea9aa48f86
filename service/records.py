"""Opens journal and registry as the settings say, each with the file that remembers its head.

The files lie in the workspace, `journal.head`, `registry.head` and so on, as `ledger.head` does:
whoever cuts the end off a chain, or puts an older database back, is found by them. Over PostgreSQL
every host remembers what was written from it, and only a host that remembers can miss anything.
"""

from hashlib import sha256
from urllib.parse import urlsplit

from sqlalchemy import Engine, inspect

from runtime.chain import HeadAnchor
from runtime.database import reading
from runtime.errors import JournalBroken
from runtime.joint.identity import TABLE as JOINTS
from runtime.joint.identity import JointLog
from runtime.joint.shadow_log import TABLE as SHADOWS
from runtime.joint.shadow_log import ShadowLog
from runtime.journal.store import Journal
from runtime.policies.log import TABLE as POLICIES
from runtime.registry import Registry
from runtime.scheduling.fence import Fence
from runtime.scheduling.lead import FileLead, Lead, PostgresLead
from runtime.scheduling.slots import TABLE as SCHEDULE
from runtime.scheduling.slots import Slots
from service.settings import Settings


def open_journal(
    settings: Settings, engine: Engine, account: str, fence: Fence | None = None
) -> Journal:
    """Open the journal for one account in the database that `engine` has open.

    Args:
        settings: where everything lies.
        engine: the database.
        account: whose book is kept.
        fence: the right of a trading process to write; None where no other process writes.
    """
    return Journal(engine, account, anchor(settings, "journal"), fence)


def open_joints(settings: Settings, engine: Engine, fence: Fence | None = None) -> JointLog:
    """Open what several bundles in one account were; `fence` is the right to write."""
    return JointLog(engine, fence, anchor(settings, JOINTS))


def open_shadows(settings: Settings, engine: Engine, fence: Fence | None = None) -> ShadowLog:
    """Open what was decided in shadow; `fence` is the right to write."""
    return ShadowLog(engine, fence, anchor(settings, SHADOWS))


def open_slots(settings: Settings, fence: Fence, job: str) -> Slots:
    """Open the slots of a job, as the process that holds `fence` may change them."""
    return Slots.open(fence.engine, fence, job, anchor(settings, SCHEDULE))


def open_lead(settings: Settings, engine: Engine, name: str) -> Lead:
    """Return what decides which of several processes leads `name`."""
    if engine.dialect.name == "postgresql":
        return PostgresLead(engine, name)
    return FileLead(settings.workspace / f"{name}.lead")


def open_registry(settings: Settings, engine: Engine) -> Registry:
    """Open the registry in the database that `engine` has open."""
    return Registry(engine, anchor=anchor(settings, "registry"))


def anchor(settings: Settings, name: str) -> HeadAnchor:
    """Return where the head of the chain `name` is remembered.

    Of a database on a server the file is that database's own: a workspace that moves to one, or
    from one to another, holds nobody's heads against somebody else's chain.
    """
    return HeadAnchor(settings.workspace / f"{name}{_server(settings.database_url)}.head")


def refuse_older(settings: Settings, engine: Engine) -> None:
    """Refuse a database that lacks what was remembered outside: whoever wrote on would bury it.

    The newest head of each chain is looked up, the rest is an audit's.

    Raises:
        JournalBroken: an older copy stands there, or one that was cut short.
    """
    tables = set(inspect(engine).get_table_names())
    for name in ("journal", "registry", POLICIES, SCHEDULE, JOINTS, SHADOWS):
        kept = anchor(settings, name)
        newest = max(reversed(kept.heads()), key=lambda head: head.seq, default=None)
        if newest is None or newest.seq == 0:
            continue
        found = _hash_of(engine, name, newest.seq) if name in tables else None
        if found != newest.hash:
            wrong = "is not there" if found is None else "is another one"
            raise JournalBroken(
                f"{name}: entry {newest.seq} {wrong}, and {kept.path} remembers it: an older copy "
                "of the database stands there, or one that was cut short; put the newest one "
                "back. If none is left, settle with the venues what is missing, move the files of "
                "heads away and vouch for what there is with sluice audit --remember"
            )


def _hash_of(engine: Engine, name: str, seq: int) -> str | None:
    mark = "%s" if engine.dialect.name == "postgresql" else "?"
    with reading(engine) as connection:
        query = f"SELECT hash FROM {name} WHERE seq = {mark}"
        row = connection.exec_driver_sql(query, (seq,)).fetchone()
    return None if row is None else bytes(row[0]).hex()


def _server(url: str) -> str:
    """Return what tells one server's database from another's, "" for a file."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return ""
    where = f"{parts.hostname or ''}:{parts.port or 5432}{parts.path}?{parts.query}"
    return "." + sha256(where.encode()).hexdigest()[:8]
