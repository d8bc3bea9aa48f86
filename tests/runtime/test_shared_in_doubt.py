"""What several bundles share when the record says more, or less, than they asked for together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from types import SimpleNamespace

import pytest

from runtime.database import open_database
from runtime.errors import OrderInvalid
from runtime.guardrails.context import FeatureAge
from runtime.joint import together
from runtime.joint.identity import JointLog
from runtime.joint.member_books import MemberBook
from runtime.joint.shares import Shares
from runtime.joint.splitting import share_fill
from runtime.journal.store import Journal
from tests.runtime.journal.trading import make_decision, make_fill, make_order

AT = datetime(2017, 1, 31, 21, tzinfo=UTC)
PLACE = ("2017-01-31", "AAA")  # tick and symbol of an order


@pytest.fixture
def journal(tmp_path) -> Iterator[Journal]:
    engine = open_database(f"sqlite:///{tmp_path}/journal.db")
    yield Journal(engine)
    engine.dispose()


def shares_of(journal: Journal, waiting: dict[str, int]) -> Shares:
    """Return two bundles' books; of an order for 100 so much is waited for by each."""
    order = make_order(100)
    journal.record_decision(make_decision([order]), [order])
    shares = Shares(journal=journal, joints=JointLog(journal.engine)).follow()
    shares.books = {role: MemberBook() for role in ("arm.b", "champion")}
    shares._waiting[PLACE] = {role: Decimal(count) for role, count in waiting.items()}
    return shares


def held(shares: Shares) -> dict[str, int]:
    return {role: int(book.units.get("AAA", 0)) for role, book in shares.books.items()}


@pytest.mark.parametrize(
    ("waiting", "filled", "got"),
    [
        ({"arm.b": 60, "champion": 40}, 50, {"arm.b": 30, "champion": 20}),
        ({"arm.b": 60, "champion": 40}, 100, {"arm.b": 60, "champion": 40}),
        ({"arm.b": 60, "champion": 39}, 100, {"arm.b": 0, "champion": 100}),
        ({"arm.b": 10, "champion": 0}, 11, {"arm.b": 0, "champion": 11}),
        ({"arm.b": 0, "champion": 0}, 1, {"arm.b": 0, "champion": 1}),
        ({"arm.b": -60, "champion": -40}, 5, {"arm.b": 0, "champion": 5}),
        ({}, 7, {"arm.b": 0, "champion": 7}),
    ],
)
def test_an_execution_of_more_than_is_waited_for_is_the_champion_s_whole(
    journal, waiting, filled, got
):
    """Nobody asked for it, so nobody is given a part; the fold goes on and no cent is lost."""
    shares = shares_of(journal, waiting)
    before = dict(shares._waiting[PLACE])
    journal.record_fills([make_fill(filled, "10.00", "1.00", of=make_order(100))])
    assert held(shares.follow()) == got
    asked = 0 < sum(waiting.values()) >= filled
    left = {role: before[role] - got[role] if asked else before[role] for role in before}
    assert shares._waiting[PLACE] == left, "who waits, waits on"
    paid = journal.book().cash
    assert sum(book.cash for book in shares.books.values()) == paid == -10 * filled - 1
    assert sum(book.fees for book in shares.books.values()) == 1


def test_what_works_beyond_what_is_waited_for_counts_as_the_champion_s(journal):
    shares = shares_of(journal, {"arm.b": 60, "champion": 39})
    asked = {"arm.b": {"AAA": Decimal(60)}, "champion": {"AAA": Decimal(39)}}
    assert shares.working({PLACE: Decimal(99)}) == asked
    assert shares.working({PLACE: Decimal(100)}) == {"champion": {"AAA": Decimal(100)}}


@pytest.mark.parametrize(("filled", "side"), [("3.5", 1), ("-3.5", -1), ("-0.5", 1), ("1", -1)])
def test_no_share_is_made_of_more_than_is_waited_for_nor_of_the_other_side(filled, side):
    waiting = {"a": side * Decimal(2), "b": side * Decimal(1)}
    with pytest.raises(OrderInvalid, match=r"only -?3 is waited for"):
        share_fill(Decimal(filled), waiting)
    assert share_fill(side * Decimal(3), waiting) == waiting


def answer(role: str, **hours: int | None) -> SimpleNamespace:
    """A member that read features, each last known so many hours before the tick."""
    ages = {
        name: FeatureAge(
            known_at=None if before is None else AT - timedelta(hours=before), allowed=None
        )
        for name, before in hours.items()
    }
    return SimpleNamespace(role=role, proposal=SimpleNamespace(features=ages))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_of_a_feature_that_several_bundles_read_the_oldest_look_counts(order):
    """One reads names that are up to date, another one that is not: the account's data are old."""
    members = [
        answer("arm.b", close=0, oil=5, vix=1),
        answer("champion", close=30, oil=None, vix=1),
        answer("third", close=2, oil=80),
    ]
    silent = SimpleNamespace(role="waits", proposal=None)
    found = together._features([silent, *(members[place] for place in order)])
    known = {name: age.known_at for name, age in found.items()}
    assert known == {
        "close": AT - timedelta(hours=30),
        "oil": None,  # nothing at all was known to one of them
        "vix": AT - timedelta(hours=1),
    }
