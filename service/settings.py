"""What an operator may set: read once from an environment mapping that is passed in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from featurestore.errors import PlatformError
from featurestore.servers import SCHEMES

if TYPE_CHECKING:
    from service.secrets.source import Secrets

DATABASE_SCHEMES = ("sqlite", "postgresql", "postgresql+psycopg")
SHORTEST_TOKEN = 16  # characters


class SettingsInvalid(PlatformError):
    """An environment variable holds a value that cannot be used; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that differs between a laptop and production.

    URLs left empty in the environment point into the workspace (SQLite files, a local lake).
    """

    workspace: Path
    database_url: str  # journal and registry
    ledger_url: str  # runs and trials
    lake_url: str  # folder or object-store URL of the Delta tables
    # Each a file of this host, or Redis or Valkey; the URL may hold a password.
    online_url: str = field(repr=False)  # newest known feature values
    streams_url: str = field(repr=False)  # features.pit and signals.{strategy}
    alerts: Path | None  # who hears of an alert, and when; None = the packaged default
    policy: Path | None  # guardrail limits; None = the packaged default
    venues: Path | None  # paper venues and how they fill; None = the packaged ones
    account: str  # whose books the desk shows; "" = live, else the active bundle's replay
    logs: str  # json or plain: how a long-running process logs
    host: str
    port: int
    operator_token: str = field(default="", repr=False)  # for writes over REST; "" = no writes
    venue_url: str = ""  # where a process of paper venues listens; "" = they are part of trading
    venue_token: str = field(default="", repr=False)  # shared with that process
    database_role: str = ""  # MOUNT/NAME of Vault's database engine; "" = the URL's own user
    secrets: "Secrets | None" = field(default=None, repr=False, compare=False)
    missing: Mapping[str, str] = field(default_factory=dict)  # variable -> why it is not known now

    @property
    def address(self) -> str:
        """Return the URL a browser on this host opens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def bundles(self) -> Path:
        """Return the folder that holds one folder per bundle hash."""
        return self.workspace / "bundles"

    @property
    def raised(self) -> Path:
        """Return the folder of the alerts that were raised."""
        return self.workspace / "alerts"

    def venue_records(self, account: str) -> Path:
        """Return the folder of an account's venue records."""
        return self.workspace / "venues" / account

    @property
    def trusted_keys(self) -> Path:
        """Return the file of public keys whose signatures count."""
        return self.workspace / "keys" / "trusted.json"


def read_settings(
    environ: Mapping[str, str],
    *,
    workspace: Path | None = None,
    secrets: "Secrets | None" = None,
    missing: Mapping[str, str] | None = None,
) -> Settings:
    """Read every SLUICE_* variable.

    Args:
        environ: the environment, its references to secrets looked up; nothing else is looked at.
        workspace: takes the place of SLUICE_WORKSPACE when a command line names one.
        secrets: where the references came from, for what changes while a process runs.
        missing: variables that are set, to secrets that cannot be had now, and why. Their defaults
            stand in their place: who goes on with such settings looks here first.

    Raises:
        SettingsInvalid: the first value that cannot be used, by variable name.
    """
    named = environ.get("SLUICE_WORKSPACE", "").strip() or ".sluice/demo"
    folder = (workspace or Path(named)).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise SettingsInvalid(f"SLUICE_WORKSPACE: {folder} is a file; name a folder")
    return Settings(
        workspace=folder,
        database_url=_database(environ, "SLUICE_DATABASE_URL", folder / "runtime.db"),
        ledger_url=_database(environ, "SLUICE_LEDGER_URL", folder / "research.db"),
        lake_url=environ.get("SLUICE_LAKE_URL", "").strip() or str(folder / "lake"),
        online_url=_store(environ, "SLUICE_ONLINE_URL", f"file://{quote(str(folder))}/online.bin"),
        streams_url=_store(
            environ, "SLUICE_STREAMS_URL", f"sqlite:///{quote(str(folder))}/streams.db"
        ),
        alerts=_file(environ, "SLUICE_ALERTS"),
        policy=_file(environ, "SLUICE_POLICY"),
        venues=_file(environ, "SLUICE_VENUES"),
        account=environ.get("SLUICE_ACCOUNT", "").strip(),
        logs=_one_of(environ, "SLUICE_LOGS", ("plain", "json")),
        host=environ.get("SLUICE_HOST", "").strip() or "127.0.0.1",
        port=_port(environ, "SLUICE_PORT", 8080),
        operator_token=_token(environ, "SLUICE_OPERATOR_TOKEN"),
        venue_url=_venue(environ, "SLUICE_VENUE_URL"),
        venue_token=_token(environ, "SLUICE_VENUE_TOKEN"),
        database_role=_role(environ, "SLUICE_DATABASE_ROLE"),
        secrets=secrets,
        missing=missing or {},
    )


def _database(environ: Mapping[str, str], name: str, default: Path) -> str:
    url = environ.get(name, "").strip()
    if not url:
        return f"sqlite:///{default}"
    scheme = urlsplit(url).scheme
    if scheme not in DATABASE_SCHEMES:
        # The URL may hold a password, so only its scheme is repeated.
        raise SettingsInvalid(
            f"{name}: scheme {scheme!r} is not a database we speak;"
            " write sqlite:////path/file.db or postgresql://user@host/name"
        )
    return url


def _store(environ: Mapping[str, str], name: str, default: str) -> str:
    """Return the URL of a store that is a file by default and else a server."""
    url, embedded = environ.get(name, "").strip() or default, urlsplit(default).scheme
    scheme = urlsplit(url).scheme
    if scheme not in (embedded, *SCHEMES):
        raise SettingsInvalid(
            f"{name}: scheme {scheme!r} is none we speak;"
            f" write {embedded}:///path, or redis://host:6379/0 (also {', '.join(SCHEMES[1:])})"
        )
    return url


def _venue(environ: Mapping[str, str], name: str) -> str:
    url = environ.get(name, "").strip()
    if url and urlsplit(url).scheme not in ("tcp", "unix"):
        raise SettingsInvalid(f"{name}: write tcp://127.0.0.1:8090 or unix:///path/venue.sock")
    return url


def _file(environ: Mapping[str, str], name: str) -> Path | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise SettingsInvalid(f"{name}: there is no file {path}; unset it for the packaged default")
    return path


def _token(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "").strip()
    if text and not (text.isascii() and text.isprintable() and len(text) >= SHORTEST_TOKEN):
        # The value is a secret, so it is not repeated.
        raise SettingsInvalid(
            f"{name}: write at least {SHORTEST_TOKEN} printable ASCII characters,"
            " e.g. from openssl rand -hex 32"
        )
    return text


def _one_of(environ: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    """Return one of the known words, the first one if none is set."""
    text = environ.get(name, "").strip() or known[0]
    if text not in known:
        raise SettingsInvalid(f"{name}: {text!r} is none of {', '.join(known)}")
    return text


def _role(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "").strip().strip("/")
    if text and _scheme_of_database(environ) == "sqlite":
        raise SettingsInvalid(
            f"{name}: SQLite has no users; set SLUICE_DATABASE_URL to postgresql://host/name"
        )
    return text


def _scheme_of_database(environ: Mapping[str, str]) -> str:
    return urlsplit(environ.get("SLUICE_DATABASE_URL", "").strip() or "sqlite:///x").scheme


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise SettingsInvalid(f"{name}: {text!r} is not a port; write a number from 1 to 65535")
    return int(text)


def require_workspace(settings: Settings) -> None:
    """Refuse to go on in a folder that is not there; SettingsInvalid says how to get one."""
    if not settings.workspace.is_dir():
        raise SettingsInvalid(
            f"there is no workspace {settings.workspace};"
            " run sluice demo once, or name another with --workspace"
        )


def has_records(settings: Settings) -> bool:
    """Say whether a journal is there, or would be on its server."""
    folder = settings.workspace
    elsewhere = settings.database_url != f"sqlite:///{folder / 'runtime.db'}"
    return elsewhere or any((folder / name).is_file() for name in ("workspace.json", "runtime.db"))


def require_records(settings: Settings) -> None:
    """Refuse to go on in a folder that nothing was recorded in; SettingsInvalid says the remedy.

    An embedded database that is not there yet would be made, and an empty desk shown.
    """
    require_workspace(settings)
    if not has_records(settings):
        raise SettingsInvalid(
            f"{settings.workspace} is not a workspace, it holds neither workspace.json nor"
            " runtime.db;"
            " run sluice demo once, or name another with --workspace"
        )
