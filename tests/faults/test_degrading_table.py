"""docs/degrading.md: every line names tests that run, and no call leaves a process unmentioned."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "degrading.md").read_text()
LINES = [line for line in TEXT.splitlines() if line.startswith("| **")]
# Whatever can reach another process or host. A server's own name (`socket.gethostname`) is no call.
CLIENTS = {"apprise", "deltalake", "hvac", "psycopg", "redis", "requests", "socket"}
CLIENTS |= {"aiohttp", "boto3", "httpx", "smtplib", "urllib3", "websockets"}
NAMED_ONLY = {"gethostname"}  # of socket


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("line", LINES, ids=lambda line: cells(line)[0].replace("*", ""))
def test_every_line_is_whole_and_names_tests_that_are_there_and_are_run(line):
    found = cells(line)
    assert len(found) == 5
    assert all(found)
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", found[-1])
    assert named
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text())
        (test,) = [
            one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name
        ]
        marks = {ast.unparse(one) for one in test.decorator_list}
        assert not any("skip" in mark or "xfail" in mark for mark in marks), marks
        assert any(isinstance(one, ast.Assert | ast.With) for one in ast.walk(test)), name


def test_every_dependency_has_a_line():
    gone = " ".join(cells(line)[0].lower() for line in LINES)
    for word in ("database", "streams", "online store", "lake", "vault", "receiver", "venue"):
        assert word in gone
    assert len({cells(line)[0] for line in LINES}) == len(LINES) >= 16


def calling() -> set[str]:
    """Return the modules of the live floors that can reach another process."""
    found = set()
    for folder in ("featurestore", "runtime", "service"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            taken = set()
            for one in ast.walk(tree):
                if isinstance(one, ast.Import):
                    taken |= {alias.name.split(".")[0] for alias in one.names}
                elif isinstance(one, ast.ImportFrom) and one.module and not one.level:
                    taken.add(one.module.split(".")[0])
            uses = {
                one.attr
                for one in ast.walk(tree)
                if isinstance(one, ast.Attribute)
                and isinstance(one.value, ast.Name)
                and one.value.id == "socket"
            }
            if uses and uses <= NAMED_ONLY:
                taken.discard("socket")
            if taken & CLIENTS:
                found.add(str(path.relative_to(ROOT)))
    return found


LISTENS = {"service/commands/serve.py"}  # tries its own port before it serves


def test_every_module_that_can_reach_another_process_says_how_long_it_waits():
    told = set(re.findall(r"`((?:featurestore|runtime|service)/[\w/]+\.py)`", TEXT))
    assert calling() - LISTENS <= told, "write what bounds these calls into docs/degrading.md"
    for path in told:
        assert (ROOT / path).is_file(), path


def test_the_times_that_are_told_are_those_of_the_code():
    from featurestore.online.opened import TIMEOUT as ONLINE
    from runtime import database, postgres
    from runtime.brokers import remote
    from runtime.secrets.session import VaultSession
    from runtime.streams.opened import TIMEOUT as STREAMS
    from service.web import health, snapshots

    session = VaultSession.__dataclass_fields__
    for words, number in (
        ("{:g} s to connect, 40 s for an answer", postgres.CONNECT),
        ("10 s to connect, {:g} s for an answer", database.ANSWER),
        ("{:g} s for a lock, 15 s of an idle", postgres.LOCK),
        ("{:g} s of an idle transaction", postgres.IDLE),
        ("| SQLite | {:g} s for a lock", database.BUSY_TIMEOUT_MS / 1000),
        ("Redis or Valkey | {:g} s |", STREAMS.total_seconds()),
        ("Redis or Valkey | {:g} s, once more", ONLINE.total_seconds()),
        ("{:g} s a request, 5 s a call", session["timeout"].default.total_seconds()),
        ("3 s a request, {:g} s a call", session["patience"].default.total_seconds()),
        ("{:g} s to connect, 5 s for an answer |", remote.CONNECT),
        ("2 s to connect, {:g} s for an answer |", remote.ANSWER),
        ("says not ready, within {:g} s", health.HURRY),
        ("has not come for {:g} s", snapshots.STILL),
        ("old answers for {:g} minutes", snapshots.STALE / 60),
    ):
        assert words.format(number) in TEXT, words.format(number)
