"""Secrets of a laptop: environment variables, or a .env file beside the work."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import SecretMissing


def variable(path: str, field: str) -> str:
    """Return the variable of a path and field: live/db and password give LIVE_DB_PASSWORD."""
    return re.sub(r"\W", "_", f"{path}_{field}").upper()


@dataclass(frozen=True, slots=True)
class EnvSecrets:
    """Reads fields from a mapping of environment variables."""

    environ: Mapping[str, str] = field(repr=False)

    def read(self, path: str, field: str) -> str:
        """Return one field; SecretMissing names the variable that would hold it."""
        name = variable(path, field)
        try:
            return self.environ[name]
        except KeyError:
            raise SecretMissing(f"{path}#{field} is not there: set {name}") from None


def read_dotenv(file: Path) -> dict[str, str]:
    """Return the variables of a .env file, as python-dotenv reads them, without expansion.

    Raises:
        SecretMissing: there is no such file, it is not text, or a name has no value.
    """
    from dotenv import dotenv_values

    if not file.is_file():
        raise SecretMissing(f"there is no file {file}; name a .env file")
    try:
        found = dotenv_values(file, interpolate=False)
    except UnicodeDecodeError:
        raise SecretMissing(f"{file} is not UTF-8 text; name a .env file") from None
    bare = sorted(name for name, value in found.items() if value is None)
    if bare:
        raise SecretMissing(f"{file}: {', '.join(bare)} has no value; write NAME=value")
    return {name: value for name, value in found.items() if value is not None}
