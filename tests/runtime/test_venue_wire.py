"""The adapter of a venue in another process, against servers that answer late, wrongly or not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec
import pytest

from runtime.brokers import wire
from runtime.brokers.remote import RemoteVenue
from runtime.domain import OrderState
from runtime.errors import VenueRefused, VenueUnknownOutcome
from tests.runtime.journal.trading import make_order

TOKEN = "a token of the tests"
HURRY = 0.2  # seconds, where nothing is to come
Serve = Callable[[socket.socket, int], None]  # a connection that is known, and its number


class Server:
    """Listens, lets callers in by the protocol, and then does what a test says."""

    def __init__(self, path, token: str = TOKEN) -> None:
        self.token, self.asked = token, []
        self.serve: Serve = lambda caller, number: None
        self.greet: Callable[[socket.socket, bytes], None] | None = None
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        number = 0
        with suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                number += 1
                threading.Thread(target=self._let_in, args=(caller, number), daemon=True).start()

    def _let_in(self, caller: socket.socket, number: int) -> None:
        with suppress(OSError), caller:
            greeting = wire.Greeting(protocol=wire.PROTOCOL, nonce="n")
            if self.greet is not None:
                self.greet(caller, msgspec.json.encode(greeting))
            wire.send(caller, greeting)
            hello = wire.read(wire.receive(caller), wire.Hello)
            parts = ("n", hello.nonce, hello.account, hello.venue)
            proof = wire.proof(self.token, "venue", *parts)
            self.say(caller, 0, wire.Welcome(proof=proof, venues=("primary",)))
            self.serve(caller, number)

    def hear(self, caller: socket.socket) -> int:
        """Take the next question; return its number."""
        asked = wire.read(wire.receive(caller), wire.Asked)
        self.asked.append(msgspec.json.decode(asked.question)["ask"])
        return asked.number

    def say(self, caller: socket.socket, number: int, said: object) -> None:
        raw = msgspec.Raw(msgspec.json.encode(said))
        wire.send(caller, wire.Answer(number=number, said=raw))

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    made = Server(tmp_path / "s")
    yield made
    made.close()


@pytest.fixture
def venue(tmp_path, server) -> Iterator[RemoteVenue]:
    address = wire.address_of(f"unix://{tmp_path}/s")
    made = RemoteVenue(
        address=address, token=TOKEN, account="live", name="primary", connect=60.0, answer=60.0
    )
    yield made
    made.close()


def test_a_late_answer_is_never_taken_for_that_of_a_later_question(server, venue):
    gave_up = threading.Event()

    def serve(caller, number):
        asked = server.hear(caller)
        if number == 1:
            gave_up.wait(60)
        server.say(caller, asked, OrderState.FILLED if number == 1 else OrderState.WORKING)

    server.serve, venue.answer = serve, HURRY
    with pytest.raises(VenueUnknownOutcome, match="gave no answer"):
        venue.find("first")
    gave_up.set()
    venue.answer = 60.0
    assert venue.find("second") is OrderState.WORKING


def test_an_order_is_written_once_whatever_becomes_of_the_connection(server, venue):
    def serve(caller, number):
        server.say(caller, server.hear(caller), None)
        server.hear(caller)  # and closes the connection

    server.serve = serve
    assert venue.find("x") is None
    with pytest.raises(VenueUnknownOutcome):
        venue.submit(make_order())
    assert server.asked == ["find", "submit"]


def test_a_question_is_asked_again_once_where_an_old_connection_is_broken(server, venue):
    def serve(caller, number):
        server.say(caller, server.hear(caller), None)
        server.hear(caller)

    server.serve = serve
    assert [venue.find("x"), venue.find("y")] == [None, None]
    assert server.asked == ["find", "find", "find"]

    server.serve = lambda caller, number: server.hear(caller) and None
    with pytest.raises(VenueUnknownOutcome):
        venue.find("z")


def test_a_question_that_only_takes_too_long_is_not_asked_again(server, venue):
    silent = threading.Event()

    def serve(caller, number):
        server.say(caller, server.hear(caller), None)
        server.hear(caller)
        silent.wait(60)

    server.serve = serve
    venue.find("x")
    venue.answer = HURRY
    with pytest.raises(VenueUnknownOutcome):
        venue.find("y")
    silent.set()
    assert server.asked == ["find", "find"]


def test_a_venue_that_speaks_another_protocol_is_told_nothing(server, venue):
    server.greet = lambda caller, _greeting: wire.send(
        caller, wire.Greeting(protocol=wire.PROTOCOL + 1, nonce="n")
    )
    with pytest.raises(VenueRefused, match=f"speaks protocol {wire.PROTOCOL + 1}"):
        venue.submit(make_order())
    assert server.asked == []


def test_over_a_new_connection_the_venue_hears_the_epoch_before_anything_else(server, venue):
    def serve(caller, number):
        while True:
            server.say(caller, server.hear(caller), None)

    server.serve = serve
    venue.log_on(7)
    venue.find("x")
    venue.close()
    venue.find("y")
    assert server.asked[-4:] == ["log_on", "find", "log_on", "find"]


def test_whoever_does_not_know_the_token_is_not_believed(server, venue):
    server.token = "somebody else's token"
    with pytest.raises(VenueRefused, match="does not know the token"):
        venue.submit(make_order())
    assert server.asked == []


@pytest.mark.parametrize(
    "words", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02{]", b"\x00\x00\x00\x02{}"]
)
def test_what_is_no_answer_is_an_outcome_that_nobody_knows(server, venue, words):
    def serve(caller, number):
        server.hear(caller)
        caller.sendall(words)

    server.serve = serve
    with pytest.raises(VenueUnknownOutcome):
        venue.submit(make_order())


def test_an_answer_to_another_question_is_none(server, venue):
    server.serve = lambda caller, number: server.say(caller, server.hear(caller) + 1, "filled")
    with pytest.raises(VenueUnknownOutcome, match="answer 2 to question 1"):
        venue.find("x")


def trickled(over: socket.socket, message: bytes) -> None:
    """Send a message but for its last byte, each byte long before the time for one is over."""
    for byte in len(message).to_bytes(4, "big") + message[:-1]:
        over.sendall(bytes([byte]))
        threading.Event().wait(0.02)


@pytest.mark.parametrize("ask", ["find", "submit"])
def test_an_answer_that_trickles_in_holds_a_call_no_longer_than_silence_does(server, venue, ask):
    went = threading.Event()

    def serve(caller, number):
        asked = server.hear(caller)
        said = msgspec.json.encode(wire.Answer(number=asked, said=msgspec.Raw(b'"' + b"x" * 500)))
        with suppress(OSError):
            trickled(caller, said)
        went.set()

    server.serve, venue.answer = serve, HURRY
    with pytest.raises(VenueUnknownOutcome, match=r"timed out|not whole in time"):
        venue.submit(make_order()) if ask == "submit" else venue.find("x")
    assert went.wait(60), "the connection was given up while bytes still came"
    assert server.asked == [ask]


def test_a_greeting_that_trickles_in_is_no_connection(server, venue):
    venue.connect = HURRY
    server.greet = trickled
    with pytest.raises(VenueUnknownOutcome, match=r"timed out|not whole in time"):
        venue.find("x")
    assert server.asked == []
