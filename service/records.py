"""Opens journal and registry as the settings say, each with the file that remembers its head.

The files lie beside the embedded database, `journal.head`, `registry.head` and so on, as
`ledger.head` does: whoever cuts the end off a chain, or puts an older database back, is found by
them. Over PostgreSQL there is none: many hosts write there, and the server's own archive remembers.
"""

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
    return Journal(engine, account, anchor(settings, settings.database_url, "journal"), fence)


def open_joints(settings: Settings, engine: Engine, fence: Fence | None = None) -> JointLog:
    """Open what several bundles in one account were; `fence` is the right to write."""
    return JointLog(engine, fence, anchor(settings, settings.database_url, JOINTS))


def open_shadows(settings: Settings, engine: Engine, fence: Fence | None = None) -> ShadowLog:
    """Open what was decided in shadow; `fence` is the right to write."""
    return ShadowLog(engine, fence, anchor(settings, settings.database_url, SHADOWS))


def open_slots(settings: Settings, fence: Fence, job: str) -> Slots:
    """Open the slots of a job, as the process that holds `fence` may change them."""
    return Slots.open(fence.engine, fence, job, anchor(settings, settings.database_url, SCHEDULE))


def open_lead(settings: Settings, engine: Engine, name: str) -> Lead:
    """Return what decides which of several processes leads `name`."""
    if engine.dialect.name == "postgresql":
        return PostgresLead(engine, name)
    return FileLead(settings.workspace / f"{name}.lead")


def open_registry(settings: Settings, engine: Engine) -> Registry:
    """Open the registry in the database that `engine` has open."""
    return Registry(engine, anchor=anchor(settings, settings.database_url, "registry"))


def anchor(settings: Settings, url: str, name: str) -> HeadAnchor | None:
    """Return where the head of the chain `name` is remembered, None if its database is a server."""
    if urlsplit(url).scheme != "sqlite":
        return None
    return HeadAnchor(settings.workspace / f"{name}.head")
