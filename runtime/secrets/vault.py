"""Secrets of production: Vault's key-value store, version 2."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hvac.exceptions import InvalidPath, InvalidRequest

from runtime.errors import SecretConflict, SecretMissing
from runtime.secrets.session import VaultSession
from runtime.secrets.source import SecretVersion

CAS_REFUSED = "check-and-set"  # in the words of Vault's refusal


@dataclass(frozen=True, slots=True)
class VaultSecrets:
    """Reads and writes one mount of Vault's KV version 2 store.

    Source: HashiCorp Vault API documentation, "KV secrets engine, version 2".
    """

    session: VaultSession
    mount: str = "secret"

    def read(self, path: str, field: str) -> str:
        """Return one field of the newest version; SecretMissing if path or field is absent."""
        found = self.newest(path)
        if found is None or field not in found.fields:
            raise SecretMissing(f"{self.mount}/{path}#{field} is not in Vault; write it there")
        return found.fields[field]

    def newest(self, path: str) -> SecretVersion | None:
        """Return the newest version of a path, None if there is none or it was deleted."""
        return self._version(path, None)

    def version(self, path: str, number: int) -> SecretVersion | None:
        """Return one version of a path, None if it was deleted or is not kept any more."""
        return self._version(path, number)

    def write(self, path: str, fields: Mapping[str, str], *, expected: int) -> int:
        """Write all fields of a path by check-and-set; SecretConflict if somebody was faster."""
        try:
            reply = self.session.call(
                lambda client: client.secrets.kv.v2.create_or_update_secret(
                    path, dict(fields), cas=expected, mount_point=self.mount
                )
            )
        except InvalidRequest as error:
            if CAS_REFUSED not in str(error):
                raise
            raise SecretConflict(
                f"{self.mount}/{path} is not at version {expected} any more;"
                " look again, then repeat"
            ) from error
        return int(reply["data"]["version"])

    def _version(self, path: str, number: int | None) -> SecretVersion | None:
        try:
            reply: Any = self.session.call(
                lambda client: client.secrets.kv.v2.read_secret_version(
                    path, version=number, mount_point=self.mount, raise_on_deleted_version=True
                )
            )
        except InvalidPath:
            return None
        meta, held = reply["data"]["metadata"], reply["data"]["data"].items()
        return SecretVersion(
            version=int(meta["version"]),
            written_at=datetime.fromisoformat(meta["created_time"][:19] + "+00:00"),
            fields={name: one if isinstance(one, str) else json.dumps(one) for name, one in held},
            untexted=tuple(name for name, one in held if not isinstance(one, str)),
        )
