"""Settings: defaults inside the workspace, one clear error per bad value."""

from __future__ import annotations

from pathlib import Path

import pytest

from featurestore.online import open_online
from featurestore.online.cells import Update, absent
from runtime.streams import open_stream
from service.settings import SettingsInvalid, read_settings, require_records


def test_without_variables_everything_lies_in_the_demo_workspace():
    settings = read_settings({})
    assert settings.workspace == Path(".sluice/demo").absolute()
    assert settings.database_url == f"sqlite:///{settings.workspace / 'runtime.db'}"
    assert settings.ledger_url == f"sqlite:///{settings.workspace / 'research.db'}"
    assert settings.lake_url == str(settings.workspace / "lake")
    assert settings.online_url == f"file://{settings.workspace / 'online.bin'}"
    assert settings.streams_url == f"sqlite:///{settings.workspace / 'streams.db'}"
    assert (settings.policy, settings.host, settings.port) == (None, "127.0.0.1", 8080)
    assert settings.address == "http://127.0.0.1:8080"


def test_variables_win_over_defaults_and_the_command_line_over_variables(tmp_path):
    environ = {
        "SLUICE_WORKSPACE": str(tmp_path / "named"),
        "SLUICE_DATABASE_URL": "postgresql://desk@db/sluice",
        "SLUICE_LAKE_URL": "s3://lake",
        "SLUICE_ONLINE_URL": "valkey://:secret@cache:6379/1",
        "SLUICE_STREAMS_URL": "rediss://cache:6380/2",
        "SLUICE_HOST": "::1",
        "SLUICE_PORT": "9000",
    }
    settings = read_settings(environ)
    assert settings.workspace == tmp_path / "named"
    assert settings.database_url == "postgresql://desk@db/sluice"
    assert settings.lake_url == "s3://lake"
    assert settings.online_url == "valkey://:secret@cache:6379/1"
    assert settings.streams_url == "rediss://cache:6380/2"
    assert settings.address == "http://[::1]:9000"
    assert read_settings(environ, workspace=tmp_path).workspace == tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLUICE_PORT", "http"),
        ("SLUICE_PORT", "0"),
        ("SLUICE_PORT", "65536"),
        ("SLUICE_PORT", "٨٠"),
        ("SLUICE_DATABASE_URL", "mysql://host/name"),
        ("SLUICE_LEDGER_URL", "research.db"),
        ("SLUICE_POLICY", "/nowhere/policy.toml"),
        ("SLUICE_ONLINE_URL", "memory://"),
        ("SLUICE_ONLINE_URL", "localhost:6379"),
        ("SLUICE_STREAMS_URL", "kafka://host"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_the_variable_s_name(name, value):
    with pytest.raises(SettingsInvalid, match=f"^{name}: "):
        read_settings({name: value})


def test_a_refused_database_url_does_not_show_its_password():
    with pytest.raises(SettingsInvalid) as refused:
        read_settings({"SLUICE_DATABASE_URL": "mysql://desk:secret@host/name"})
    assert "secret" not in str(refused.value)


def test_a_workspace_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsInvalid, match="is a file"):
        read_settings({}, workspace=tmp_path / "file")


def test_a_host_whose_journal_lies_on_a_server_needs_no_file_of_its_own(tmp_path):
    environ = {"SLUICE_DATABASE_URL": "postgresql://desk@db/sluice"}
    require_records(read_settings(environ, workspace=tmp_path))
    with pytest.raises(SettingsInvalid, match="is not a workspace"):
        require_records(read_settings({}, workspace=tmp_path))
    (tmp_path / "runtime.db").touch()
    require_records(read_settings({}, workspace=tmp_path))


def test_a_workspace_whose_name_needs_quoting_is_found_again(tmp_path):
    settings = read_settings({}, workspace=tmp_path / "a #1?")
    settings.workspace.mkdir()
    stream = open_stream(settings.streams_url, "features.pit")
    stream.close()
    assert (settings.workspace / "streams.db").is_file()
    open_online(settings.online_url).backend.apply(
        Update(columns=(), symbols=(), packed=absent(0, 0), at=0)
    )
    assert (settings.workspace / "online.bin").is_file()
