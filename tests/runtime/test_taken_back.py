"""Splits that are taken back after more was traded, or after another one was taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.database import open_database
from runtime.errors import OrderInvalid
from runtime.joint.identity import JointLog
from runtime.joint.member_books import MemberBook
from runtime.joint.shares import Shares
from runtime.journal.actions import Reversal, Split
from runtime.journal.adjustments import Adjustments
from runtime.journal.store import Journal
from tests.runtime.journal.trading import make_order
from tests.runtime.test_paper_venue import NEXT, bar

AT = datetime(2024, 6, 10, 13, 30, tzinfo=UTC)


def split(name: str, new: int = 2, hours: int = 0) -> Split:
    return Split(
        action_id=name, symbol="AAA", effective=AT + timedelta(hours=hours), new=new, old=1
    )


@pytest.fixture
def books(tmp_path):
    """Return what books actions, and the shares of two bundles that hold 100 and 40 units."""
    engine = open_database(f"sqlite:///{tmp_path}/journal.db")
    held = {
        role: MemberBook(units={"AAA": Decimal(units)})
        for role, units in {"champion": 100, "second": 40}.items()
    }
    journal = Journal(engine, "live")
    yield Adjustments(journal), Shares(journal=journal, joints=JointLog(engine), books=held)
    engine.dispose()


def units(shares: Shares) -> dict[str, int]:
    return {role: int(book.units["AAA"]) for role, book in shares.follow().books.items()}


def test_what_a_bundle_bought_since_a_split_that_is_taken_back_stays_its_own(books):
    booked, shares = books
    booked.record_action(split("s", new=3))
    assert units(shares) == {"champion": 300, "second": 120}
    shares.books["champion"].add("AAA", Decimal(60))  # as a fill does
    booked.take_back("s", by="ada", reason="called off", at=AT + timedelta(days=1))
    assert units(shares) == {"champion": 160, "second": 40}


def test_two_splits_can_be_taken_back_in_the_order_in_which_they_came(books):
    booked, shares = books
    for one in (split("s"), split("t", new=5, hours=1)):
        booked.record_action(one)
    assert units(shares) == {"champion": 1000, "second": 400}
    booked.take_back("s", by="ada", reason="called off", at=AT + timedelta(days=1))
    assert units(shares) == {"champion": 500, "second": 200}
    booked.take_back("t", by="ada", reason="called off", at=AT + timedelta(days=1))
    assert units(shares) == {"champion": 100, "second": 40}


def test_a_venue_takes_an_older_split_back_once_the_newer_one_is(tmp_path):
    venue = PaperVenue(tmp_path / "primary.db", PRIMARY)
    venue.submit(make_order(100))
    venue.on_bars([bar("33")], NEXT)
    day = NEXT + timedelta(days=2)
    older, newer = (
        Split(action_id=name, symbol="AAA", effective=NEXT + timedelta(hours=hours), new=2, old=1)
        for name, hours in (('older "1"', 10), ("newer ü", 20))
    )
    undo = {
        one.action_id: Reversal.of(one, at=day, by="ada", reason="called off")
        for one in (older, newer)
    }
    venue.on_actions([older, newer])
    with pytest.raises(OrderInvalid, match="take that one back first"):
        venue.on_actions([undo[older.action_id]])
    venue.on_actions([undo[newer.action_id], undo[older.action_id]])
    assert venue.statement(day.date()).positions == {"AAA": Decimal(100)}
    assert venue.prove().seq > 0
    venue.close()
