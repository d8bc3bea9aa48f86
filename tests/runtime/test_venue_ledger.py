"""A paper venue's chain explains its whole record, and its positions stay right over splits."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from random import Random
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.brokers.record import VenueRecord
from runtime.brokers.server import Floor
from runtime.chain import Head, HeadAnchor
from runtime.domain import Bar, OrderState, TimeInForce
from runtime.errors import EntryConflict, JournalBroken, OrderInvalid, Superseded
from runtime.journal.actions import Dividend, Split
from tests.runtime.journal.trading import START, make_order

FIRST = datetime(2017, 2, 1, 21, tzinfo=UTC)


def bar(at: datetime, close: str = "100", symbol: str = "AAA") -> Bar:
    return Bar(symbol=symbol, close=Decimal(close), event_time=at, known_at=at)


def split(at: datetime, new: int, old: int, symbol: str = "AAA") -> Split:
    return Split(action_id=f"s {symbol} {at}", symbol=symbol, effective=at, new=new, old=old)


@pytest.fixture
def lived(tmp_path):
    """A venue that filled, cancelled, expired, rested, split and paid; and where its record is."""
    venue = PaperVenue(tmp_path / "v.db", PRIMARY)
    orders = [make_order(10 * (leg + 1), leg=leg) for leg in range(3)]
    orders.append(make_order(5, leg=3, limit="1"))
    orders.append(make_order(5, "BBB", leg=4, limit="1", time_in_force=TimeInForce.IOC))
    for order in orders:
        venue.submit(order)
    venue.cancel(orders[2].order_id)
    venue.on_bars([bar(FIRST), bar(FIRST, symbol="BBB")], FIRST)
    after = FIRST + timedelta(days=1)
    venue.on_actions(
        [
            split(after - timedelta(hours=6), 3, 2),
            Dividend(
                action_id="d",
                symbol="AAA",
                effective=after - timedelta(hours=6),
                per_unit=Decimal("0.333333"),
            ),
        ]
    )
    venue.submit(make_order(-7, tick="2017-02-01", created_at=FIRST, limit="1"))
    venue.on_bars([bar(after, "70")], after)
    venue.submit(make_order(1, tick="2017-02-02", created_at=after))
    yield venue, tmp_path / "v.db"
    venue.close()


def test_the_chain_of_a_life_proves_its_record_and_grows_with_it(lived):
    venue, _ = lived
    states = [venue.find(make_order(10, leg=leg).order_id) for leg in range(4)]
    assert states == ["filled", "filled", "cancelled", "expired"]
    head = venue.prove()
    assert head == venue.head()
    assert head.seq == 7 + 3 + 3 + 2  # orders, ends, executions, actions
    venue.submit(make_order(2, "CCC"))
    assert venue.prove([head]).seq == head.seq + 1


@pytest.mark.parametrize(
    ("forged", "words"),
    [
        ("UPDATE executions SET price = '1' WHERE number = 1", "executions or actions are not"),
        ("DELETE FROM executions WHERE number = 2", "executions or actions are not"),
        ("UPDATE actions SET after = '1' WHERE number = 1", "executions or actions are not"),
        ("UPDATE positions SET quantity = '99'", "its positions are not"),
        ("UPDATE orders SET state = 'expired' WHERE state = 'filled'", "its chain says filled"),
        ("UPDATE orders SET asked = '[]' WHERE number = 1", "the orders are not"),
        ("UPDATE orders SET side = 'sell' WHERE number = 1", "not what its chain asked for"),
        ("UPDATE orders SET limit_price = '9' WHERE number = 7", "not what its chain asked for"),
        ("UPDATE orders SET stop_price = '9' WHERE number = 7", "not what its chain asked for"),
        ("UPDATE ledger SET payload = x'5b5d' WHERE seq = 3", r"entry 3 \(order .* was changed"),
        ("DELETE FROM ledger WHERE seq = 4", "entry 4 is missing"),
        ("DELETE FROM ledger WHERE seq = 15", "anchored"),
    ],
)
def test_whatever_is_changed_in_a_venues_record_is_noticed(lived, forged, words):
    venue, path = lived
    anchors = [venue.head()]
    with sqlite3.connect(path) as database:
        assert database.execute(forged).rowcount > 0
    database.close()
    with pytest.raises(JournalBroken, match=words):
        venue.prove(anchors)


def test_a_record_written_anew_in_full_is_not_the_one_that_was_anchored(lived):
    venue, _ = lived
    with pytest.raises(JournalBroken, match="not the one anchored outside"):
        venue.prove([Head(seq=3, hash="0" * 64)])


def test_a_record_cut_off_and_written_on_is_not_the_one_that_was_anchored(tmp_path):
    path, anchored = tmp_path / "v.db", []
    for leg in range(2):
        with closing(PaperVenue(path, PRIMARY)) as venue:
            venue.submit(make_order(10, leg=leg))
            anchored.append(venue.head())
        with closing(sqlite3.connect(path)) as database, database:
            if not leg:
                database.execute("DELETE FROM ledger")
                database.execute("DELETE FROM orders")
    assert [head.seq for head in anchored] == [1, 1]
    with closing(PaperVenue(path, PRIMARY)) as venue:
        assert venue.prove(anchored[1:]) == anchored[1]
        with pytest.raises(JournalBroken, match="entry 1 is not the one anchored outside"):
            venue.prove(anchored)


def test_a_served_record_whose_file_of_heads_is_gone_has_not_passed(tmp_path):
    anchor = HeadAnchor(tmp_path / "v.head")
    for remembers in (False, True):
        with closing(PaperVenue(tmp_path / "v.db", PRIMARY, remembers=remembers)) as venue:
            venue.submit(make_order(10, leg=int(remembers)))
            venue.on_bars([bar(FIRST + timedelta(days=int(remembers)))], FIRST + timedelta(days=1))
            if not remembers:
                assert venue.prove_beside(anchor).seq > 0, "part of the process that trades"
                continue
            with pytest.raises(JournalBroken, match=r"v\.head remembers no head of them"):
                venue.prove_beside(anchor)
            anchor.record(venue.head())
            assert venue.prove_beside(anchor) == venue.head()
    floor = Floor(folder=tmp_path, terms=(PRIMARY,))
    (tmp_path / "live").mkdir()
    (tmp_path / "v.db").rename(tmp_path / "live" / "primary.db")
    with pytest.raises(JournalBroken, match="remembers no head"):
        floor.prove()


def test_an_order_in_old_units_never_executes_in_new_ones(tmp_path):
    venue = PaperVenue(tmp_path / "v.db", PRIMARY)
    day, rests = make_order(10), make_order(10, leg=1, limit="50")
    other = make_order(10, "BBB", leg=2)
    for order in (day, rests, other):
        venue.submit(order)
    ex_date = FIRST - timedelta(hours=6)
    assert venue.on_actions([split(ex_date, 4, 1)]) == 1
    fresh = make_order(10, leg=3, created_at=ex_date + timedelta(hours=1))
    venue.submit(fresh)
    venue.on_bars([bar(FIRST, "25"), bar(FIRST, "25", "BBB")], FIRST)
    states = [venue.find(one.order_id) for one in (day, rests, other, fresh)]
    assert states == [
        OrderState.CANCELLED,
        OrderState.CANCELLED,
        OrderState.FILLED,
        OrderState.FILLED,
    ]
    venue.prove()
    venue.close()


def test_an_action_has_one_effect_and_cannot_come_back_as_another(tmp_path):
    venue = PaperVenue(tmp_path / "v.db", PRIMARY)
    venue.submit(make_order(10))
    venue.on_bars([bar(FIRST)], FIRST)
    doubled = split(FIRST + timedelta(hours=17), 2, 1)
    assert [venue.on_actions([doubled]) for _ in range(3)] == [1, 0, 0]
    day = doubled.effective.date()
    statement = venue.statement(day)
    assert (statement.positions, statement.split) == ({"AAA": Decimal(20)}, {"AAA"})
    with pytest.raises(EntryConflict, match="has taken"):
        venue.on_actions([split(doubled.effective, 3, 1)])
    paid_out = Split(action_id="x", symbol="AAA", effective=START, new=1, old=3, in_lieu=Decimal(1))
    with pytest.raises(OrderInvalid, match="none is paid out"):
        venue.on_actions([paid_out])
    venue.close()


@pytest.mark.parametrize("remembers", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda venue: venue.submit(make_order(10, leg=1)),
        lambda venue: venue.on_bars([bar(FIRST)], FIRST),
        lambda venue: venue.expire_before(FIRST),
        lambda venue: venue.on_actions([split(FIRST, 2, 1)]),
        lambda venue: venue.log_on(1),
    ],
)
def test_who_was_followed_by_a_later_session_changes_nothing(tmp_path, change, remembers):
    terms = replace(PRIMARY, fee_rate=Decimal("0.01"))  # it would trade by others, too
    old = PaperVenue(tmp_path / "v.db", terms, remembers=remembers)
    new = PaperVenue(tmp_path / "v.db", PRIMARY, remembers=remembers)
    old.log_on(1)
    old.submit(make_order(10))
    new.log_on(2)
    before = new.head(), new.working(), new.traded_by()
    with pytest.raises(Superseded, match="serves epoch 2 now"):
        change(old)
    assert (new.head(), new.working(), new.traded_by()) == before
    if remembers:
        with pytest.raises(OrderInvalid, match="has published no bar"):
            new.quote("AAA", FIRST)  # what the old one was told is not shown
    assert new.on_bars([bar(FIRST)], FIRST) == 1
    for venue in (old, new):
        venue.close()


def test_two_connections_that_place_one_order_at_once_place_it_once(tmp_path):
    pair = [PaperVenue(tmp_path / "v.db", PRIMARY) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for leg in range(20):
            order, start = make_order(10, leg=leg), Barrier(2)

            def place(venue, order=order, start=start):
                start.wait()
                return venue.submit(order)

            assert set(pool.map(place, pair)) == {OrderState.WORKING}
    assert len(pair[0].working()) == pair[0].prove().seq == 20
    for venue in pair:
        venue.close()


def test_a_session_that_begins_while_bars_are_told_keeps_the_old_one_from_matching(
    tmp_path, monkeypatch
):
    old, new = (PaperVenue(tmp_path / "v.db", PRIMARY) for _ in range(2))
    old.log_on(1)
    old.submit(make_order(10))
    monkeypatch.setattr(VenueRecord, "traded_by", lambda *_: new.log_on(2))
    with pytest.raises(Superseded):
        old.on_bars([bar(FIRST)], FIRST)
    assert new.executions(0) == []
    for venue in (old, new):
        venue.close()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000))
def test_the_positions_of_every_day_stay_what_they_were_then(tmp_path_factory, seed):
    random = Random(seed)
    venue = PaperVenue(tmp_path_factory.mktemp("v") / "v.db", PRIMARY)
    held = {"AAA": Decimal(0), "BBB": Decimal(0)}  # a reference of three lines
    then: dict[date, dict[str, Decimal]] = {}
    at, closed = START, START
    for number in range(8):
        closed, at = at, at + timedelta(days=1)
        for symbol in held:
            if random.random() < 0.3:
                new, old = random.choice([(2, 1), (1, 3), (3, 2), (7, 4)])
                venue.on_actions([split(at - timedelta(hours=6), new, old, symbol)])
                whole = held[symbol] * 1_000_000 * new / old
                held[symbol] = whole.quantize(Decimal(1), ROUND_DOWN) / 1_000_000
            if random.random() < 0.7:
                units = random.choice([-30, -5, 12, 40])
                # Sent after the opening, so that the session's split does not cancel it.
                sent = closed + timedelta(hours=19)
                limit = "1" if units < 0 else "1000"
                tick = f"{number} {symbol}"
                venue.submit(make_order(units, symbol, tick=tick, created_at=sent, limit=limit))
                held[symbol] += units
        venue.on_bars([bar(at), bar(at, symbol="BBB")], at)
        then[at.date()] = {name: units for name, units in held.items() if units}
        assert {day: venue.statement(day).positions for day in then} == then
    venue.prove()
    venue.close()
