"""One id leads through the logs, from a tick to the cents it moved."""

from __future__ import annotations

import json
import logging
from datetime import date
from decimal import Decimal

import pytest

from runtime.database import open_database
from runtime.engine import SessionOutcome
from service.logs import configure
from service.records import open_journal
from service.settings import SettingsInvalid, read_settings
from service.trading.trail import Trail
from tests.fakes.trading import traded_workspace


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trail") / "ws"
    settings, _ = traded_workspace(folder, end=date(2017, 3, 31))
    engine = open_database(settings.database_url)
    accounts = open_journal(settings, engine, "").accounts()
    account = next(name for name in accounts if name)
    return open_journal(settings, engine, account)


@pytest.fixture
def logged(capsys):
    before, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    logging.getLogger().handlers[:] = before
    logging.getLogger().setLevel(level)


def test_every_line_of_a_decision_carries_its_id_down_to_the_posted_cents(journal, logged):
    configure("json")
    found = journal.decisions(limit=1)[0]
    decided = journal.decision(found.record.decision_id).record
    day = date.fromisoformat(decided.tick)
    trail = Trail(journal, _seq=0)
    trail.session(
        SessionOutcome(
            day=day,
            decision=decided,
            orders=1,
            fills=2,
            equity=Decimal("1.00"),
            benchmark_return=None,
            breaks=(),
        )
    )
    lines = logged()
    by_event = {name: [one for one in lines if one["event"] == name] for name in ("decided",)}
    assert [one["correlation"] for one in by_event["decided"]] == [decided.decision_id]
    ordered = [one for one in lines if one["event"] == "ordered"]
    assert {one["order"] for one in ordered} == {
        one.order.order_id for one in journal.orders(decided.decision_id)
    }
    filled = [one for one in lines if one["event"] == "filled"]
    assert len(filled) == len(journal.fills()) > 0
    for one in filled:
        assert one["correlation"] == journal.order(one["order"]).decision_id
        assert sum(map(Decimal, one["posted"].values())) == 0
    assert all(one["at"].endswith("Z") and one["level"] == "info" for one in lines)
    trail.session(
        SessionOutcome(
            day=day,
            decision=None,
            orders=0,
            fills=0,
            equity=None,
            benchmark_return=None,
            breaks=(),
        )
    )
    assert [one["event"] for one in logged()] == ["not closed"], "no fill is told twice"


def test_the_libraries_lines_have_the_same_form_with_the_error_in_full(logged):
    configure("json")
    try:
        raise ValueError("the cause")
    except ValueError:
        logging.getLogger("runtime.scheduling.live").exception("a session failed")
    (line,) = logged()
    assert (line["logger"], line["event"]) == ("runtime.scheduling.live", "a session failed")
    assert "ValueError: the cause" in line["exception"]


def test_an_error_in_plain_lines_shows_where_it_was_and_nothing_of_what_was_held_there(capsys):
    before, level = logging.getLogger().handlers[:], logging.getLogger().level
    configure("plain")
    token = "-".join(("operator", "token"))
    try:
        int(token[:0])
    except ValueError:
        logging.getLogger("service").exception("not a number")
    logging.getLogger().handlers[:] = before
    logging.getLogger().setLevel(level)
    told = capsys.readouterr().err
    assert "not a number" in told
    assert "Traceback (most recent call last):" in told
    assert "ValueError: invalid literal" in told
    assert token not in told


def test_a_form_that_is_not_known_is_named(tmp_path):
    with pytest.raises(SettingsInvalid, match="SLUICE_LOGS: 'xml'"):
        read_settings({"SLUICE_LOGS": "xml"}, workspace=tmp_path)
