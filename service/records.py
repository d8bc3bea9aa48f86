"""Opens journal and registry as the settings say, each with the file that remembers its head.

The files lie in the workspace, `journal.head`, `registry.head` and so on, as `ledger.head` does:
whoever cuts the end off a chain, or puts an older database back, is found by them. Over PostgreSQL
every host remembers what was written from it, and only a host that remembers can miss anything.
"""

from hashlib import sha256
from urllib.parse import urlsplit

from sqlalchemy import Engine

from runtime.chain import HeadAnchor
from runtime.joint.identity import TABLE as JOINTS
from runtime.joint.identity import JointLog
from runtime.joint.shadow_log import TABLE as SHADOWS
from runtime.joint.shadow_log import ShadowLog
from runtime.journal.store import Journal
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


def _server(url: str) -> str:
    """Return what tells one server's database from another's, "" for a file."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return ""
    where = f"{parts.hostname or ''}:{parts.port or 5432}{parts.path}?{parts.query}"
    return "." + sha256(where.encode()).hexdigest()[:8]
