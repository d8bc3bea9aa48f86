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
        SecretMissing: there is no such file, it is not text, a name has no value, or a line is
            none of a .env file: whoever leaves one out may lose what it says.
    """
    from dotenv.parser import parse_stream

    if not file.is_file():
        raise SecretMissing(f"there is no file {file}; name a .env file")
    found = dict[str, str | None]()
    try:
        with file.open(encoding="utf-8") as stream:
            for line in parse_stream(stream):
                if line.error:
                    said = line.original.string
                    number = line.original.line + len(said) - len(said.lstrip("\n"))
                    raise SecretMissing(f"{file}: line {number} cannot be read; write NAME=value")
                if line.key is not None:
                    found[line.key] = line.value
    except UnicodeDecodeError:
        raise SecretMissing(f"{file} is not UTF-8 text; name a .env file") from None
    except OSError as error:
        raise SecretMissing(f"{file} cannot be read: {error.strerror}") from error
    bare = sorted(name for name, value in found.items() if value is None)
    if bare:
        raise SecretMissing(f"{file}: {', '.join(bare)} has no value; write NAME=value")
    return {name: value for name, value in found.items() if value is not None}
