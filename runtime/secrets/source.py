"""The port: what a secret is called, how it is read, and what a place that keeps versions adds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from runtime.errors import SecretMissing

SCHEME = "secret:"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Where a secret is, never what it is; written `secret:PATH#FIELD`."""

    path: str
    field: str

    @classmethod
    def parse(cls, text: str) -> "SecretRef":
        """Read `secret:PATH#FIELD`; SecretMissing if a part is absent."""
        path, mark, name = text.removeprefix(SCHEME).partition("#")
        if not (text.startswith(SCHEME) and mark and path.strip("/") and name):
            raise SecretMissing(
                "a reference to a secret names a path and a field: write secret:PATH#FIELD"
            )
        return cls(path=path.strip("/"), field=name)

    def __str__(self) -> str:
        return f"{self.path}#{self.field}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVersion:
    """The fields of one path as one write left them; versions count from 1."""

    version: int
    written_at: datetime  # UTC, by the keeper's clock
    fields: Mapping[str, str] = field(repr=False)
    untexted: tuple[
        str, ...
    ] = ()  # fields that are no text, here as JSON: a write would change them


class SecretSource(Protocol):
    """Where secrets are read. Callers never log, print or store what it returns."""

    def read(self, path: str, field: str) -> str:
        """Return one field.

        Raises:
            SecretMissing: path or field is absent.
            SecretForbidden: the source refuses this reader.
            SecretUnavailable: the source does not answer, or is sealed.
        """
        ...


class SecretKeeper(SecretSource, Protocol):
    """A source that keeps versions and takes writes."""

    def newest(self, path: str) -> SecretVersion | None:
        """Return the newest version of a path, None if nothing is there."""
        ...

    def version(self, path: str, number: int) -> SecretVersion | None:
        """Return one version of a path, None if it is not kept any more."""
        ...

    def write(self, path: str, fields: Mapping[str, str], *, expected: int) -> int:
        """Write all fields of a path and return the new version.

        Args:
            path: where.
            fields: the whole new content.
            expected: the version that is replaced, 0 = nothing is there yet.

        Raises:
            SecretConflict: another version is there; nothing was written.
        """
        ...
