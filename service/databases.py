"""Opens the runtime's database: as the URL's own user, or as one that Vault lends."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runtime.database import open_database
from runtime.errors import DatabaseUnavailable
from service.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine


HEADS = ("journal", "registry", "policies")  # chains whose ends are remembered beside the database


class RecordsGone(DatabaseUnavailable):
    """The database's file is not there, and what stood in it is remembered outside."""


def open_runtime(settings: Settings) -> "Engine":
    """Open the database of journal and registry.

    Raises:
        RecordsGone: its file is gone; an empty one in its place would say that nothing is open,
            and take entries that no audit could ever join to what was there.
        DatabaseUnavailable: it does not answer.
    """
    refuse_gone(settings)
    if settings.database_role and settings.secrets is not None:
        login = settings.secrets.database_login(settings.database_role)
        return open_database(settings.database_url, login=login)
    return open_database(settings.database_url)


def refuse_gone(settings: Settings) -> None:
    """Raise RecordsGone if the database's file is gone, though heads of its chains are kept."""
    parts = urlsplit(settings.database_url)
    path = Path(parts.path.removeprefix("/"))
    if parts.scheme != "sqlite" or path.is_file():
        return
    kept = [settings.workspace / f"{name}.head" for name in HEADS]
    left = [one.name for one in kept if one.is_file() and one.stat().st_size]
    if left:
        raise RecordsGone(
            f"{path} is gone, though {', '.join(left)} in {settings.workspace} remember what stood "
            "in it; put it back, or move them away to begin anew"
        )
