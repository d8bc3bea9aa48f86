"""Who may hold a process of venues: strangers keep nobody out, and the last to log on counts."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from runtime.brokers import guests, server, wire
from runtime.brokers.guests import Guest, Guests
from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.brokers.remote import RemoteVenue, open_connection, venue_names
from runtime.brokers.server import Floor, Session, VenueServer
from runtime.domain import Bar, OrderState
from runtime.errors import JournalBroken, VenueProtocol, VenueRefused, VenueUnknownOutcome
from tests.runtime.journal.trading import START, make_order

TOKEN = "a token of the tests"


class Asking:
    """A connection to the venue `primary` that says what a test has it say, when it says so."""

    def __init__(self, address: wire.Address) -> None:
        self.over, _ = open_connection(address, TOKEN, "paper", "primary", timeout=60.0)
        self.over.settimeout(60.0)

    def say(self, question: wire.Question) -> None:
        raw = msgspec.Raw(msgspec.json.encode(question))
        wire.send(self.over, wire.Asked(number=1, question=raw))

    def hear(self) -> Any:
        answer = wire.read(wire.receive(self.over), wire.Answer)
        assert not answer.fault, answer.words
        return msgspec.json.decode(answer.said)

    def ask(self, question: wire.Question) -> Any:
        self.say(question)
        return self.hear()

    def close(self) -> None:
        self.over.close()


@pytest.fixture
def address(tmp_path) -> wire.Address:
    return wire.address_of(f"unix://{tmp_path}/venue.sock")


@pytest.fixture
def serving(tmp_path, address) -> Iterator[Floor]:
    floor = Floor(folder=tmp_path / "records", terms=(PRIMARY,))
    made = VenueServer(floor, address, TOKEN)
    made.start()
    yield floor
    made.stop()


def stranger(address: wire.Address) -> socket.socket:
    over = socket.socket(socket.AF_UNIX)
    over.settimeout(60.0)
    over.connect(str(address.path))
    return over


def drip(over: socket.socket) -> None:
    """Send a byte now and then, each long before the time for one is over."""
    for _ in range(500):
        over.sendall(b"x")
        with suppress(TimeoutError):
            over.recv(1)


def test_whoever_drips_its_name_byte_by_byte_is_cut_off_all_the_same(monkeypatch, serving, address):
    monkeypatch.setattr(server, "HANDSHAKE", 0.2)
    with closing(stranger(address)) as over:
        wire.receive(over)
        over.settimeout(0.02)
        over.sendall(b"\x00\x00\x0f\x00")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            drip(over)


def test_any_number_of_strangers_keeps_nobody_out_who_knows_the_token(serving, address):
    with ExitStack() as stack:
        for _ in range(guests.STRANGERS + guests.CONNECTIONS):
            wire.receive(stack.enter_context(closing(stranger(address))))
        assert venue_names(address, TOKEN) == ("primary",)
        venue = RemoteVenue(address=address, token=TOKEN, account="paper", name="primary")
        stack.enter_context(closing(venue))
        assert venue.find("x") is None
        for _ in range(2 * guests.STRANGERS):
            wire.receive(stack.enter_context(closing(stranger(address))))
        assert venue.working() == (), "and who is known stays, whoever comes"


def test_more_guests_than_there_may_be_are_not_served_until_one_leaves(
    monkeypatch, serving, address
):
    monkeypatch.setattr(guests, "CONNECTIONS", 1)
    first, second = (
        RemoteVenue(address=address, token=TOKEN, account="paper", name="primary") for _ in "ab"
    )
    assert first.find("x") is None
    with pytest.raises(VenueUnknownOutcome):
        second.find("x")
    assert first.find("x") is None
    first.close()
    until = time.monotonic() + 60
    while True:
        with suppress(VenueUnknownOutcome):
            assert second.find("x") is None
            break
        assert time.monotonic() < until, "the place is never free again"
    second.close()


def test_an_order_over_a_connection_that_was_given_up_does_not_arrive_any_more(serving, address):
    order = make_order()
    with closing(Asking(address)) as old, closing(Asking(address)) as new:
        old.ask(wire.LogOn(epoch=1))
        new.ask(wire.LogOn(epoch=1))
        assert new.ask(wire.Find(order_id=order.order_id)) is None
        with pytest.raises(ConnectionError):
            old.ask(wire.Submit(order=order))
        assert new.ask(wire.Find(order_id=order.order_id)) is None
        assert new.ask(wire.Submit(order=order)) == "working"


def test_what_a_venue_said_of_an_order_holds_though_the_order_lay_in_a_buffer(tmp_path, address):
    entered, leave = threading.Event(), threading.Event()

    def slow(bars, at) -> None:
        entered.set()
        leave.wait(60)

    floor = Floor(folder=tmp_path / "records", terms=(PRIMARY,), check=slow)
    made = VenueServer(floor, address, TOKEN)
    made.start()
    order = make_order()
    with closing(Asking(address)) as old, closing(Asking(address)) as new:
        old.ask(wire.LogOn(epoch=1))
        old.say(wire.OnBars(bars=(), at=START))
        old.say(wire.Submit(order=order))
        assert entered.wait(60)
        threading.Timer(0.2, leave.set).start()
        new.ask(wire.LogOn(epoch=1))
        said = new.ask(wire.Find(order_id=order.order_id))
        leave.wait(60)
        old.over.settimeout(1.0)
        with suppress(OSError):
            while True:
                old.hear()
        assert new.ask(wire.Find(order_id=order.order_id)) == said
    made.stop()


def test_a_question_that_waited_while_its_connection_was_taken_over_has_no_effect(tmp_path):
    floor, order = Floor(folder=tmp_path / "records", terms=(PRIMARY,)), make_order()
    ours, _theirs = socket.socketpair()
    guest = Guest(caller=ours, number=1, account="live", venue="primary", ended=True)
    with closing(floor.open("live", "primary")) as venue:
        session = Session(floor, venue, guest, Guests())
        with pytest.raises(VenueProtocol, match="over a later connection"):
            session.answer(wire.Submit(order=order))
        assert venue.find(order.order_id) is None
        guest.ended = False
        assert session.answer(wire.Submit(order=order)) == "working"


def test_the_last_to_connect_counts_though_an_older_connection_logs_on_late(serving, address):
    with closing(Asking(address)) as old, closing(Asking(address)) as new:
        new.ask(wire.LogOn(epoch=1))
        with pytest.raises(ConnectionError):
            old.ask(wire.LogOn(epoch=1))
        assert new.ask(wire.AskWorking()) == []


def test_who_never_logged_on_and_who_leads_over_an_older_connection_are_left_alone(
    serving, address
):
    with ExitStack() as stack:
        kill, standby, leader = (stack.enter_context(closing(Asking(address))) for _ in range(3))
        leader.ask(wire.LogOn(epoch=1))
        standby.ask(wire.LogOn(epoch=2))
        assert kill.ask(wire.AskWorking()) == standby.ask(wire.AskWorking()) == []
        leader.say(wire.Submit(order=make_order()))
        with pytest.raises(AssertionError, match="serves epoch 2 now"):
            leader.hear()


@pytest.mark.parametrize("proof", ["é", "", "0" * 64])
def test_a_proof_that_is_none_is_refused_in_words(serving, address, proof, caplog):
    with closing(stranger(address)) as over, caplog.at_level(logging.ERROR):
        wire.receive(over)
        wire.send(over, wire.Hello(account="é", venue="primary", nonce="é", proof=proof))
        answer = wire.read(wire.receive(over), wire.Answer)
        assert (answer.fault, answer.words) == ("VenueRefused", "the token is another one here")
        assert over.recv(1) == b""
    assert not caplog.records


def test_a_socket_in_a_file_is_its_owners_alone_before_anybody_can_connect(
    monkeypatch, tmp_path, address
):
    modes = []
    activate = server._Listening.server_activate

    def watched(self) -> None:
        modes.append(stat.S_IMODE(address.path.stat().st_mode))
        activate(self)

    monkeypatch.setattr(server._Listening, "server_activate", watched)
    before = os.umask(0)
    try:
        made = VenueServer(Floor(folder=tmp_path / "records", terms=(PRIMARY,)), address, TOKEN)
        made.start()
        made.stop()
    finally:
        assert os.umask(before) == 0
    assert modes == [0o600]


def test_whatever_is_acknowledged_is_in_a_head_outside_and_an_older_record_is_found(
    tmp_path, serving, address
):
    anchor, record = serving.anchor("paper", "primary"), tmp_path / "records" / "paper"
    first, second = make_order(leg=0), make_order(leg=1)
    close = Bar(symbol="AAA", close=Decimal(100), event_time=START, known_at=START)
    with (
        closing(serving.open("paper", "primary")) as known,
        closing(
            RemoteVenue(address=address, token=TOKEN, account="paper", name="primary")
        ) as venue,
    ):
        for change in (
            lambda: venue.on_bars([close], START),
            lambda: venue.submit(first),
            lambda: venue.cancel(first.order_id),
            lambda: venue.submit(second),
        ):
            with (
                closing(sqlite3.connect(record / "primary.db")) as now,
                closing(sqlite3.connect(tmp_path / "older.db")) as older,
            ):
                now.backup(older)  # as it stood before
            change()
            assert anchor.heads()[-1] == known.head()
        heads = len(anchor.heads())
        assert venue.find(second.order_id) is OrderState.WORKING
        assert len(anchor.heads()) == heads, "who only asks changes nothing"
        assert known.prove_beside(anchor).seq == 3
    with closing(PaperVenue(tmp_path / "older.db", PRIMARY, remembers=True)) as older:
        assert older.prove().seq == 2
        with pytest.raises(JournalBroken, match="anchored"):
            older.prove_beside(anchor)


@pytest.mark.parametrize("url", ["tcp://0.0.0.0:0", "tcp://[::]:0", "tcp://venues.example:0"])
def test_an_address_that_other_hosts_reach_has_to_be_asked_for(tmp_path, url):
    floor = Floor(folder=tmp_path, terms=(PRIMARY,))
    with pytest.raises(VenueRefused, match="not encrypted"):
        VenueServer(floor, wire.address_of(url), TOKEN).start()


@pytest.mark.parametrize("account", ["", "../live", "a/b", ".hidden", "x" * 82, "live\n"])
def test_an_account_whose_name_leads_elsewhere_has_no_record(tmp_path, account):
    floor = Floor(folder=tmp_path / "records", terms=(PRIMARY,))
    with pytest.raises(VenueRefused, match="is no name of an account"):
        floor.open(account, "primary")
    assert list(tmp_path.iterdir()) == []


def test_a_venue_without_a_token_serves_nobody(tmp_path, address):
    made = VenueServer(Floor(folder=tmp_path / "r", terms=(PRIMARY,)), address, "")
    with pytest.raises(VenueRefused, match="a venue needs a token"):
        made.start()


@pytest.mark.parametrize(
    ("url", "exposed"), [("tcp://127.0.0.1:0", False), ("tcp://0.0.0.0:0", True)]
)
def test_this_host_alone_or_what_is_asked_for_is_listened_at(tmp_path, url, exposed):
    made = VenueServer(
        Floor(folder=tmp_path, terms=(PRIMARY,)), wire.address_of(url), TOKEN, exposed
    )
    made.start()
    port = wire.address_of(made.url).port
    assert venue_names(wire.address_of(f"tcp://127.0.0.1:{port}"), TOKEN) == ("primary",)
    made.stop()
