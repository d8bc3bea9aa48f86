"""Which source of secrets a process uses, and what it keeps alive while it runs.

A SLUICE_* variable may hold a reference, `secret:PATH#FIELD`, in place of a secret. It is read
from the environment (PATH_FIELD, or a .env file that SLUICE_ENV_FILE names), or from Vault if
SLUICE_SECRETS=vault. Nothing of Vault's client is imported where no reference is used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.clock import Clock
from runtime.errors import SecretForbidden, SecretMissing, SecretUnavailable
from runtime.secrets.environment import EnvSecrets, read_dotenv
from runtime.secrets.keeper import Keeper, Kept
from runtime.secrets.rotating import RotatingSecret
from runtime.secrets.source import SCHEME, SecretRef, SecretSource
from service.settings import SettingsInvalid

if TYPE_CHECKING:
    from runtime.database import Credentials
    from runtime.secrets.session import Login, VaultSession
    from runtime.secrets.vault import VaultSecrets

ENVIRONMENT, VAULT = "environment", "vault"


@dataclass(kw_only=True)
class Secrets:
    """One process's secrets; opened once, shared by everything in it."""

    environ: Mapping[str, str] = field(repr=False)
    clock: Clock
    patience: timedelta = timedelta(seconds=5)  # one read waits so long for an absent Vault
    _kept: list[Kept] = field(default_factory=list, repr=False)

    @property
    def kind(self) -> str:
        """Return where secrets come from: environment or vault."""
        named = self.environ.get("SLUICE_SECRETS", "").strip() or ENVIRONMENT
        if named not in (ENVIRONMENT, VAULT):
            raise SettingsInvalid(f"SLUICE_SECRETS: {named!r} is neither {ENVIRONMENT} nor {VAULT}")
        return named

    @cached_property
    def source(self) -> SecretSource:
        """Open the source that the environment names."""
        if self.kind == VAULT:
            return self.vault
        named = self.environ.get("SLUICE_ENV_FILE", "").strip()
        kept = read_dotenv(Path(named).expanduser()) if named else {}
        values = {k: v for k, v in self.environ.items() if not v.strip().startswith(SCHEME)}
        return EnvSecrets(kept | values)

    @cached_property
    def vault(self) -> "VaultSecrets":
        """Open Vault's key-value store; SettingsInvalid names what is not configured."""
        from runtime.secrets.vault import VaultSecrets

        mount = self.environ.get("SLUICE_VAULT_MOUNT", "").strip() or "secret"
        return VaultSecrets(self.session, mount)

    @cached_property
    def session(self) -> "VaultSession":
        """Prepare the login at Vault; nothing is asked before the first read."""
        from runtime.secrets.session import VaultSession

        address = self.environ.get("VAULT_ADDR", "").strip()
        if not address.startswith(("https://", "http://")):
            said = f"is no address of Vault: {address}" if address else "is not set"
            raise SettingsInvalid(f"VAULT_ADDR {said}: write https://host:8200")
        session = VaultSession(
            address=address,
            login=self._login(),
            clock=self.clock,
            patience=self.patience,
            namespace=self.environ.get("VAULT_NAMESPACE") or None,
            verify=self.environ.get("VAULT_CACERT") or True,
        )
        self._keep(session)
        return session

    def resolved(self) -> dict[str, str]:
        """Return the environment with every reference of a SLUICE_* variable looked up.

        Raises:
            SecretMissing, SecretForbidden, SecretUnavailable: a reference leads nowhere.
        """
        found = dict(self.environ)
        for name, ref in self.references().items():
            found[name] = self.source.read(ref.path, ref.field)
        return found

    def found(self) -> tuple[dict[str, str], dict[str, str]]:
        """Look up what can be looked up now.

        Returns:
            The environment without the variables whose secret cannot be had, and variable -> why
            of those. After the first that waited for the source in vain, no other is asked for.

        Raises:
            SettingsInvalid: the source itself is not configured.
        """
        known, missing, away = self.without(), dict[str, str](), ""
        for name, ref in self.references().items():
            try:
                if not away:
                    known[name] = self.source.read(ref.path, ref.field)
            except SecretUnavailable as error:
                away = str(error)
            except (SecretMissing, SecretForbidden) as error:
                missing[name] = str(error)
            if away:
                missing[name] = away
        return known, missing

    def without(self) -> dict[str, str]:
        """Return the environment without the variables that refer to a secret; nothing is asked.

        For what has to work with every source of secrets down, and needs files alone.
        """
        held = self.references()
        return {name: value for name, value in self.environ.items() if name not in held}

    def references(self) -> dict[str, SecretRef]:
        """Return which variables hold a reference, and to what."""
        return {
            name: SecretRef.parse(value.strip())
            for name, value in sorted(self.environ.items())
            if name.startswith("SLUICE_") and value.strip().startswith(SCHEME)
        }

    def rotating(self, variable: str) -> Callable[[], tuple[str, ...]] | None:
        """Return how to ask for a variable's values as they change, None if they cannot."""
        ref = self.references().get(variable)
        if ref is None or self.kind != VAULT:
            return None
        secret = RotatingSecret(keeper=self.vault, ref=ref, clock=self.clock)
        secret.look()
        self._keep(secret)
        return secret.accepted

    def database_login(self, role: str) -> "Callable[[], Credentials]":
        """Return who connects, by a role of Vault's database engine, MOUNT/NAME."""
        from runtime.secrets.database import DynamicDatabase

        if role not in self._logins:
            mount, _, name = role.rpartition("/")
            dynamic = DynamicDatabase(session=self.session, role=name, mount=mount or "database")
            self._keep(dynamic)
            self._logins[role] = dynamic.current
        return self._logins[role]

    @cached_property
    def _logins(self) -> "dict[str, Callable[[], Credentials]]":
        return {}

    def _keep(self, one: Kept) -> None:
        """Look after it from now on; the first one starts the thread."""
        self._kept.append(one)
        if len(self._kept) == 1:
            Keeper(kept=self._kept, clock=self.clock).start()

    def _login(self) -> "Login":
        from runtime.secrets.session import AppRoleLogin, TokenLogin

        role = self.environ.get("SLUICE_VAULT_ROLE_ID", "").strip()
        if role:
            named = self.environ.get("SLUICE_VAULT_SECRET_ID_FILE", "").strip()
            if not named or not Path(named).expanduser().is_file():
                raise SettingsInvalid(
                    "SLUICE_VAULT_SECRET_ID_FILE names no file:"
                    " write the AppRole's secret id to one"
                )
            return AppRoleLogin(role, lambda: Path(named).expanduser().read_text().strip())
        token = self.environ.get("VAULT_TOKEN", "").strip()
        if not token:
            raise SettingsInvalid(
                "neither SLUICE_VAULT_ROLE_ID nor VAULT_TOKEN is set:"
                " log in at Vault by one of them"
            )
        return TokenLogin(token)
