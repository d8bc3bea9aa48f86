"""Secrets by reference in the settings, `sluice secrets`, and a token replaced under load."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from litestar.testing import TestClient
from typer.testing import CliRunner

from runtime.clock import ReplayClock
from runtime.errors import SecretMissing
from runtime.secrets.source import SecretRef
from service.app import create_app
from service.cli import app
from service.secrets.moving import rotate
from service.secrets.source import Secrets
from service.settings import SettingsInvalid, read_settings
from service.wiring import open_live
from tests.fakes.vault import FakeVault, Kept, serving

TOKEN = "an-operator-token-of-the-tests"
REFERENCE = "secret:sluice#sluice_operator_token"


@pytest.fixture
def clock():
    return ReplayClock(datetime(2026, 11, 20, 14, tzinfo=UTC))


@pytest.fixture
def vault(clock):
    return FakeVault(clock=clock)


@pytest.fixture
def environ(vault):
    with serving(vault) as address:
        yield {"SLUICE_SECRETS": "vault", "VAULT_ADDR": address, "VAULT_TOKEN": vault.root}


@pytest.fixture
def sluice(environ):
    def run(*words: object, status: int = 0, **more: str) -> str:
        done = CliRunner().invoke(app, [*map(str, words)], env=environ | {"COLUMNS": "200"} | more)
        assert done.exit_code == status, done.output
        return done.output

    return run


@pytest.fixture
def dotenv(tmp_path):
    file = tmp_path / ".env"
    file.write_text(f"SLUICE_OPERATOR_TOKEN='{TOKEN}'\nexport BROKER_KEY=k-123  # the desk's\n")
    return file


def test_a_setting_may_refer_to_a_variable_or_to_a_line_of_an_env_file(clock, tmp_path, dotenv):
    refers = {"SLUICE_OPERATOR_TOKEN": "secret:live#token"}
    plain = Secrets(environ=refers | {"LIVE_TOKEN": TOKEN}, clock=clock)
    assert read_settings(plain.resolved(), workspace=tmp_path).operator_token == TOKEN
    refers = {"SLUICE_OPERATOR_TOKEN": "secret:sluice#operator_token"}
    filed = Secrets(environ=refers | {"SLUICE_ENV_FILE": str(dotenv)}, clock=clock)
    assert read_settings(filed.resolved(), workspace=tmp_path).operator_token == TOKEN


def test_a_reference_that_leads_nowhere_names_the_variable_to_set(clock):
    with pytest.raises(SecretMissing, match="set LIVE_TOKEN"):
        Secrets(environ={"SLUICE_X": "secret:live#token"}, clock=clock).resolved()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"SLUICE_SECRETS": "wallet"}, "SLUICE_SECRETS"),
        ({"VAULT_ADDR": ""}, "VAULT_ADDR"),
        ({"VAULT_TOKEN": ""}, "SLUICE_VAULT_ROLE_ID nor VAULT_TOKEN"),
        ({"SLUICE_VAULT_ROLE_ID": "r"}, "SLUICE_VAULT_SECRET_ID_FILE"),
    ],
)
def test_a_half_configured_vault_is_named_by_its_variable(environ, clock, more, named):
    refers = environ | {"SLUICE_OPERATOR_TOKEN": REFERENCE} | more
    with pytest.raises(SettingsInvalid, match=named):
        Secrets(environ=refers, clock=clock).resolved()


def test_a_database_role_needs_a_database_with_users(tmp_path):
    with pytest.raises(SettingsInvalid, match="SQLite has no users"):
        read_settings({"SLUICE_DATABASE_ROLE": "database/sluice"}, workspace=tmp_path)


def test_an_env_file_moves_into_vault_and_back_as_references(sluice, dotenv, vault):
    said = sluice("secrets", "migrate", dotenv, "--dry-run")
    assert "would be moved" in said
    assert not vault.kept
    done = json.loads(sluice("secrets", "migrate", dotenv, "--json"))
    assert (done["version"], done["verified"]) == (1, True)
    assert [one["reference"] for one in done["secrets"]] == [
        REFERENCE,
        "secret:sluice#broker_key",
    ]
    said = sluice("secrets", "show", SLUICE_OPERATOR_TOKEN=REFERENCE)
    assert "there" in said
    again = sluice("secrets", "migrate", dotenv)
    assert "same" in again
    assert len(vault.kept["sluice"]) == 1, "what is the same is not written again"


def test_no_value_is_ever_printed(sluice, dotenv):
    texts = [
        sluice("secrets", "migrate", dotenv, "--dry-run"),
        sluice("secrets", "migrate", dotenv),
        sluice("secrets", "migrate", dotenv, "--json"),
        sluice("secrets", "show", SLUICE_OPERATOR_TOKEN=REFERENCE),
        sluice("secrets", "rotate", "sluice#broker_key"),
    ]
    dotenv.write_text("BROKER_KEY=another-one\n")
    texts.append(sluice("secrets", "migrate", dotenv, status=1))
    for secret in (TOKEN, "k-123", "another-one"):
        assert not any(secret in text for text in texts)


def test_a_field_that_holds_something_else_is_left_until_replace_is_typed(sluice, dotenv, vault):
    sluice("secrets", "migrate", dotenv)
    dotenv.write_text("BROKER_KEY=another-one\nNEW=1\n")
    said = sluice("secrets", "migrate", dotenv, status=1)
    assert "--replace" in said
    assert len(vault.kept["sluice"]) == 1
    sluice("secrets", "migrate", dotenv, "--replace")
    assert vault.kept["sluice"][-1].data == {
        "sluice_operator_token": TOKEN,
        "broker_key": "another-one",
        "new": "1",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no file"),
        ("", "nothing to move"),
        ("A\n", "has no value"),
        ("A=1", "does not set"),
        ("KEY=1\n\nBROKER KEY=2\n", "line 3 cannot be read"),
        ("KEY=1\nkey=2\n", "KEY and key would be one field"),
        (f"KEY={REFERENCE}\n", "KEY refers to a secret already"),
    ],
)
def test_a_file_that_cannot_be_moved_is_told_why(sluice, tmp_path, vault, text, words):
    file = tmp_path / "it.env"
    if text is not None:
        file.write_text(text)
    more = ("--only", "B") if text == "A=1" else ()
    assert words in " ".join(sluice("secrets", "migrate", file, *more, status=1).split())
    assert not vault.kept


@pytest.mark.parametrize("path", ["", "/", "a//b", "a#b", " "])
def test_a_path_that_no_reference_could_name_is_refused(sluice, dotenv, vault, path):
    said = sluice("secrets", "migrate", dotenv, "--path", path, status=1)
    assert "is no path of a secret" in said
    assert not vault.kept


def test_a_path_is_the_same_with_a_slash_around_it(sluice, dotenv, vault):
    done = json.loads(sluice("secrets", "migrate", dotenv, "--path", "/live/", "--json"))
    assert done["secrets"][0]["reference"] == "secret:live#sluice_operator_token"
    assert list(vault.kept) == ["live"]


def test_what_is_no_text_is_read_as_json_and_never_written_anew(sluice, dotenv, vault, clock):
    vault.kept["sluice"] = [Kept(data={"port": 5432, "tags": ["a"]}, created=clock.now())]
    said = sluice("secrets", "show", SLUICE_X="secret:sluice#port")
    assert "there" in said
    for words in (("migrate", dotenv), ("rotate", "sluice#port")):
        assert "port, tags" in sluice("secrets", *words, status=1)
    assert len(vault.kept["sluice"]) == 1


def test_a_dry_run_says_that_the_move_would_be_refused(sluice, dotenv, vault):
    sluice("secrets", "migrate", dotenv)
    dotenv.write_text("BROKER_KEY=another-one\n")
    assert "refused without --replace" in sluice(
        "secrets", "migrate", dotenv, "--dry-run", status=1
    )
    assert "refused" not in sluice("secrets", "migrate", dotenv, "--dry-run", "--replace")
    assert len(vault.kept["sluice"]) == 1


def test_an_address_without_a_scheme_is_named(sluice):
    said = sluice("secrets", "rotate", "sluice#a", status=2, VAULT_ADDR="127.0.0.1:8200")
    assert "VAULT_ADDR is no address of Vault" in said


def test_a_missing_secret_is_shown_and_ends_with_1(sluice):
    said = sluice("secrets", "show", status=1, SLUICE_OPERATOR_TOKEN=REFERENCE)
    assert "is not in Vault" in " ".join(said.split())


def test_a_token_is_replaced_without_a_refused_call(environ, vault, clock, tmp_path):
    refers = environ | {"SLUICE_OPERATOR_TOKEN": REFERENCE}
    secrets = Secrets(environ=refers, clock=clock)
    first = secrets.vault.write("sluice", {"sluice_operator_token": TOKEN}, expected=0)
    settings = read_settings(secrets.resolved(), workspace=tmp_path, secrets=secrets)
    live = open_live(settings, monotonic=lambda: 0.0)
    with TestClient(create_app(live)) as client:

        def asked(token: str) -> int:
            shown = {"Authorization": f"Bearer {token}"}
            return client.post("/policy/reload", json={}, headers=shown).status_code

        assert asked(TOKEN) != 401
        assert asked("somebody-else-entirely") == 401
        clock.advance(clock.now() + timedelta(days=30))
        rotate(secrets.vault, SecretRef.parse(REFERENCE))
        new = secrets.vault.read("sluice", "sluice_operator_token")
        assert first == 1
        assert new != TOKEN
        _look_again(secrets)
        assert asked(new) != 401
        assert asked(TOKEN) != 401, "whoever still shows the old one is served for a while"
        clock.advance(clock.now() + timedelta(minutes=11))
        assert asked(TOKEN) == 401
        assert asked(new) != 401
        vault.sealed = True
        _look_again(secrets)
        assert asked(new) != 401, "what was read before stays in use"


def _look_again(secrets: Secrets) -> None:
    """What the keeper's thread does every half minute."""
    secrets.session.patience = timedelta(seconds=0.1)
    for one in secrets._kept:
        one.keep()


def test_the_kill_switch_and_the_alerts_need_no_secret(tmp_path):
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "workspace.json").write_text("{}")
    gone = {"SLUICE_SECRETS": "vault", "VAULT_ADDR": "http://127.0.0.1:9", "VAULT_TOKEN": "x"}
    refers = gone | {"SLUICE_DATABASE_URL": "secret:db#url", "SLUICE_OPERATOR_TOKEN": REFERENCE}

    def run(*words: str):
        return CliRunner().invoke(app, [*words, "-w", str(tmp_path / "ws")], env=refers)

    stopped = run("kill", "on", "--by", "ada", "--reason", "all is down")
    assert stopped.exit_code == 0, stopped.output
    assert (tmp_path / "ws" / "kill" / "all").is_file()
    assert "no alert is open" in run("alerts", "list").output
    watched = run("alerts", "watch", "--once")
    assert watched.exit_code == 0, watched.output
    assert "without SLUICE_DATABASE_URL, SLUICE_OPERATOR_TOKEN for now" in watched.output
    said = run("alerts", "list").output
    assert "all is stopped by ada" in said
    assert "SLUICE_DATABASE_URL is not known" in said
