"""Splits that are taken back after more was traded, or after another one was taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.database import open_database
from runtime.errors import OrderInvalid
from runtime.joint.identity import JointLog
from runtime.joint.member_books import MemberBook
from runtime.joint.shares import Shares
from runtime.journal.actions import Dividend, Reversal, Split
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


def test_splits_are_taken_back_newest_first_and_leave_each_bundle_what_it_bought_between(books):
    booked, shares = books
    for one in (split("s"), split("t", new=5, hours=1)):
        booked.record_action(one)
        shares.follow().books["second"].add("AAA", Decimal(10))  # as a fill does
    assert units(shares) == {"champion": 1000, "second": (40 * 2 + 10) * 5 + 10}
    head = booked.journal.head()
    with pytest.raises(OrderInvalid, match="take t back before it"):
        booked.take_back("s", by="ada", reason="called off", at=AT + timedelta(days=1))
    assert booked.journal.head() == head
    for name in ("t", "s"):
        assert booked.take_back(name, by="ada", reason="called off", at=AT + timedelta(days=1))
    assert units(shares) == {"champion": 100, "second": 40 + 10 + 10}


@pytest.fixture
def venue(tmp_path):
    """A venue that holds 100 units."""
    made = PaperVenue(tmp_path / "primary.db", PRIMARY)
    made.submit(make_order(100))
    made.on_bars([bar("33")], NEXT)
    yield made
    made.close()


def test_a_venue_takes_an_older_split_back_once_the_newer_one_is(venue):
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
    with pytest.raises(OrderInvalid, match="take newer ü back before it"):
        venue.on_actions([undo[older.action_id]])
    venue.on_actions([undo[newer.action_id], undo[older.action_id]])
    assert venue.statement(day.date()).positions == {"AAA": Decimal(100)}
    assert venue.prove().seq > 0


def test_books_and_venue_refuse_the_same_reversals_in_the_same_words(books, venue):
    """By chance splits, dividends and their reversals; the rule is told again from the outside."""
    booked, _ = books
    chance, at = Random(5), NEXT + timedelta(days=2)
    standing: list[Split | Dividend] = []
    refused = taken = 0
    for number in range(120):
        if standing and chance.random() < 0.55:
            one = chance.choice(standing)
            splits = [other for other in standing if isinstance(other, Split)]
            under = [two for two in splits if two.symbol == one.symbol]
            may = isinstance(one, Dividend) or under[-1] is one
            words = []
            undo = Reversal.of(one, at=at, by="ada", reason="called off")
            for take in (booked.record_action, lambda told: venue.on_actions([told])):
                try:
                    assert take(undo)
                except OrderInvalid as error:
                    words.append(str(error))
            if may:
                assert words == []
                standing.remove(one)
                taken += 1
            else:
                assert words == [words[0]] * 2
                assert f"take {under[-1].action_id} back before it" in words[0]
                refused += 1
            continue
        facts = {
            "action_id": f"a{number}",
            "symbol": chance.choice(["AAA", "BBB"]),
            "effective": NEXT + timedelta(hours=chance.randrange(24)),  # learned in any order
        }
        split_too = chance.random() < 0.7
        event = (
            Split(**facts, new=2, old=1)
            if split_too
            else Dividend(**facts, per_unit=Decimal("0.1"))
        )
        booked.record_action(event)
        venue.on_actions([event])
        standing.append(event)
    assert min(refused, taken) > 10
    for one in reversed(standing):
        undo = Reversal.of(one, at=at, by="ada", reason="called off")
        assert booked.record_action(undo)
        assert venue.on_actions([undo])
    assert venue.statement(at.date()).positions == {"AAA": Decimal(100)}
    booked.journal.verify()
    venue.prove()
