"""Opens the runtime's database: as the URL's own user, or as one that Vault lends."""

from typing import TYPE_CHECKING

from runtime.database import open_database
from service.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine


def open_runtime(settings: Settings) -> "Engine":
    """Open the database of journal and registry; DatabaseUnavailable if it does not answer."""
    if settings.database_role and settings.secrets is not None:
        login = settings.secrets.database_login(settings.database_role)
        return open_database(settings.database_url, login=login)
    return open_database(settings.database_url)
