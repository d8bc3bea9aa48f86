"""The settings a command runs with; nothing here needs the library of the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.settings import Settings


def settings_of(workspace: Path | None) -> "Settings":
    """Read the settings, of the workspace that was typed or the environment's."""
    import os

    from runtime.clock import WallClock
    from service.secrets.source import Secrets
    from service.settings import read_settings

    secrets = Secrets(environ=os.environ, clock=WallClock())
    return read_settings(secrets.resolved(), workspace=workspace, secrets=secrets)


def file_settings(workspace: Path | None) -> "Settings":
    """Read the settings of a workspace that must be there, references to secrets left out.

    For the kill switch and the alerts: they are files, and work with Vault and databases down.
    """
    import os

    from runtime.clock import WallClock
    from service.secrets.source import Secrets
    from service.settings import read_settings, require_workspace

    secrets = Secrets(environ=os.environ, clock=WallClock())
    settings = read_settings(secrets.without(), workspace=workspace)
    require_workspace(settings)
    return settings


def partial_settings(workspace: Path | None) -> "Callable[[], Settings]":
    """Return how to read as much of the settings as can be had now, and again later.

    For the watch, which has to start with the source of secrets down and takes the rest when it is
    back. What it cannot do without is the workspace.
    """
    import os
    from datetime import timedelta

    from runtime.clock import WallClock
    from service.secrets.source import Secrets
    from service.settings import SettingsInvalid, read_settings, require_workspace

    secrets = Secrets(environ=os.environ, clock=WallClock(), patience=timedelta(seconds=1))

    def read() -> "Settings":
        known, missing = secrets.found()
        if workspace is None and "SLUICE_WORKSPACE" in missing:
            raise SettingsInvalid(f"SLUICE_WORKSPACE: {missing['SLUICE_WORKSPACE']}")
        settings = read_settings(known, workspace=workspace, secrets=secrets, missing=missing)
        require_workspace(settings)
        return settings

    return read


def workspace_settings(workspace: Path | None) -> "Settings":
    """Read the settings of a workspace that must be there."""
    from service.settings import require_workspace

    settings = settings_of(workspace)
    require_workspace(settings)
    return settings
