"""The broker port over a connection to a venue in a process of its own.

What gives no answer is `VenueUnknownOutcome`, and the connection is given up: a late answer is
never taken for that of a later question. A question that changes nothing, or the same thing once,
is asked again over a new connection if an old one turns out to be broken; an order never is.
"""

import secrets
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, TypeVar

import msgspec
from msgspec.json import Decoder

from runtime.brokers import wire
from runtime.chain import Head
from runtime.decoding import json_decoder
from runtime.domain import Bar, Fill, Order, OrderReport, OrderState, Quote
from runtime.errors import VenueProtocol, VenueRefused, VenueUnknownOutcome
from runtime.journal.actions import Dividend, Reversal, Split
from runtime.kill.sequence import Resting
from runtime.ports import Statement

CONNECT = 2.0  # seconds in all to connect and to be known
ANSWER = 5.0  # seconds from a question to the last byte of its answer
T = TypeVar("T")
_NOTHING: Decoder[None] = json_decoder(None)
_COUNT: Decoder[int] = json_decoder(int)
_QUOTE: Decoder[Quote] = json_decoder(Quote)
_STATE: Decoder[OrderState] = json_decoder(OrderState)
_FOUND: Decoder[OrderState | None] = json_decoder(OrderState | None)
_REPORT: Decoder[OrderReport | None] = json_decoder(OrderReport | None)
_WORKING: Decoder[tuple[Resting, ...]] = json_decoder(tuple[Resting, ...])
_EXECUTIONS: Decoder[list[tuple[int, Fill]]] = json_decoder(list[tuple[int, Fill]])
_STATEMENT: Decoder[Statement] = json_decoder(Statement)
_HEAD: Decoder[Head] = json_decoder(Head)
_WELCOME: Decoder[wire.Welcome] = json_decoder(wire.Welcome)


@dataclass(slots=True, kw_only=True)
class RemoteVenue:
    """One venue of another process, for one account; implements `runtime.ports.Broker`."""

    address: wire.Address
    token: str = field(repr=False)
    account: str
    name: str
    connect: float = CONNECT  # seconds
    answer: float = ANSWER  # seconds
    _epoch: int | None = None
    _socket: socket.socket | None = None
    _number: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None

    def log_on(self, epoch: int) -> None:
        """Have the venue serve this process alone from now on, over every later connection too.

        Raises:
            Superseded: a later epoch has logged on.
            VenueUnknownOutcome: no answer came.
        """
        self._epoch = epoch
        self._ask(wire.LogOn(epoch=epoch), _NOTHING)

    def quote(self, symbol: str, at: datetime) -> Quote:
        """Return what the venue shows; OrderInvalid if it has published nothing by then."""
        return self._ask(wire.AskQuote(symbol=symbol, at=at), _QUOTE)

    def submit(self, order: Order) -> OrderState:
        """Place an order, once by its id; it is sent once, whatever the connection does."""
        return self._ask(wire.Submit(order=order), _STATE, again=False)

    def find(self, order_id: str) -> OrderState | None:
        """Return where an order stands, None if it never arrived."""
        return self._ask(wire.Find(order_id=order_id), _FOUND)

    def report(self, order_id: str) -> OrderReport | None:
        """Return an order's quantities, None if it never arrived."""
        return self._ask(wire.Report(order_id=order_id), _REPORT)

    def cancel(self, order_id: str) -> OrderState:
        """Cancel what still works; OrderInvalid if the venue never received it."""
        return self._ask(wire.Cancel(order_id=order_id), _STATE)

    def working(self) -> Sequence[Resting]:
        """Return every order that is working, oldest first."""
        return self._ask(wire.AskWorking(), _WORKING)

    def expire_before(self, opened: datetime) -> None:
        """End what was for sessions before an opening."""
        self._ask(wire.ExpireBefore(opened=opened), _NOTHING)

    def on_bars(self, bars: Sequence[Bar], at: datetime) -> int:
        """Tell that a session has closed; the venue refuses bars that its own data contradicts."""
        return self._ask(wire.OnBars(bars=tuple(bars), at=at), _COUNT)

    def on_actions(self, actions: Sequence[Split | Dividend | Reversal]) -> int:
        """Tell of splits and dividends in effect, each taken once; return how many were new."""
        if not actions:
            return 0
        splits = tuple(one for one in actions if isinstance(one, Split))
        dividends = tuple(one for one in actions if isinstance(one, Dividend))
        back = tuple(one for one in actions if isinstance(one, Reversal))
        told = wire.OnActions(splits=splits, dividends=dividends, reversals=back)
        return self._ask(told, _COUNT)

    def executions(self, after: int) -> Sequence[tuple[int, Fill]]:
        """Return (number, fill) of every execution numbered above `after`, in order."""
        found: list[tuple[int, Fill]] = []
        while True:
            page = self._ask(wire.AskExecutions(after=after), _EXECUTIONS)
            found += page
            if len(page) < wire.PAGE:
                return found
            if page[-1][0] <= after:
                raise self._unknown(VenueProtocol(f"executions after {after} end before it"))
            after = page[-1][0]

    def statement(self, day: date) -> Statement:
        """Return the venue's own record of a day."""
        return self._ask(wire.AskStatement(day=day), _STATEMENT)

    def head(self) -> Head:
        """Return where the chain of the venue's record stands."""
        return self._ask(wire.AskHead(), _HEAD)

    def _ask(self, question: wire.Question, answer: Decoder[T], *, again: bool = True) -> T:
        """Ask one question and return its answer.

        Args:
            question: what is asked.
            answer: reads it.
            again: whether it may be asked a second time over a new connection, because an old one
                was found broken.

        Raises:
            VenueUnknownOutcome: no answer came, or none that is one.
            RuntimeFault: of `wire.FAULTS`, the venue's own refusal.
        """
        with self._lock:
            stale = self._socket is not None
            try:
                return self._once(question, answer)
            except (OSError, VenueProtocol) as error:
                if not (again and stale) or isinstance(error, TimeoutError | VenueProtocol):
                    raise self._unknown(error) from error
            try:
                return self._once(question, answer)
            except (OSError, VenueProtocol) as error:
                raise self._unknown(error) from error

    def _unknown(self, error: Exception) -> VenueUnknownOutcome:
        words = str(error) or type(error).__name__
        return VenueUnknownOutcome(f"{self.name} at {self.address} gave no answer: {words}")

    def _once(self, question: wire.Question, answer: Decoder[T]) -> T:
        """Ask over the connection there is, or a new one; one that fails is given up."""
        try:
            if self._socket is None:
                self._socket = self._connected()
            return self._answered(self._socket, question, answer)
        except (OSError, VenueProtocol):
            self.close()
            raise

    def _connected(self) -> socket.socket:
        """Return a new connection, known to the venue and logged on as before."""
        found, _ = open_connection(
            self.address, self.token, self.account, self.name, timeout=self.connect
        )
        if self._epoch is not None:
            try:
                self._answered(found, wire.LogOn(epoch=self._epoch), _NOTHING)
            except Exception:
                found.close()
                raise
        return found

    def _answered(self, over: socket.socket, question: wire.Question, read: Decoder[T]) -> T:
        deadline = time.monotonic() + self.answer
        over.settimeout(self.answer)  # for all that is sent; receiving has what is left of it
        self._number += 1
        said = msgspec.Raw(msgspec.json.encode(question))
        wire.send(over, wire.Asked(number=self._number, question=said))
        answer: wire.Answer = wire.read(wire.receive(over, deadline=deadline), wire.Answer)
        if answer.number != self._number:
            raise VenueProtocol(f"answer {answer.number} to question {self._number}")
        return _said(answer, read)


def open_connection(
    address: wire.Address, token: str, account: str, venue: str, *, timeout: float = CONNECT
) -> tuple[socket.socket, tuple[str, ...]]:
    """Connect to a process of venues; both sides prove that they know the token.

    Args:
        address: where it listens.
        token: shared with it.
        account: whose records are meant.
        venue: its name; "" only asks which there are.
        timeout: seconds for all of it.

    Returns:
        The connection, and the names of the venues there.

    Raises:
        OSError: nobody answers there.
        VenueProtocol: who answers is no such process.
        VenueRefused: the token differs, or there is no such venue.
    """
    where: Any = (address.host, address.port)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    if address.path is not None:
        family, where = socket.AF_UNIX, str(address.path)
    over = socket.socket(family, socket.SOCK_STREAM)
    deadline = time.monotonic() + timeout
    try:
        over.settimeout(timeout)
        over.connect(where)
        if address.path is None:
            over.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        greeting: wire.Greeting = wire.read(wire.receive(over, deadline=deadline), wire.Greeting)
        if greeting.protocol != wire.PROTOCOL:
            raise VenueRefused(
                f"{address} speaks protocol {greeting.protocol}, this process {wire.PROTOCOL}"
            )
        nonce = secrets.token_hex(16)
        parts = (greeting.nonce, nonce, account, venue)
        proof = wire.proof(token, "client", *parts)
        wire.send(over, wire.Hello(account=account, venue=venue, nonce=nonce, proof=proof))
        answer: wire.Answer = wire.read(wire.receive(over, deadline=deadline), wire.Answer)
        welcome = _said(answer, _WELCOME)
        if not wire.proved(welcome.proof, token, "venue", *parts):
            raise VenueRefused(f"whoever listens at {address} does not know the token")
    except BaseException:
        over.close()
        raise
    return over, welcome.venues


def venue_names(address: wire.Address, token: str, *, timeout: float = CONNECT) -> tuple[str, ...]:
    """Return the names of the venues that a process holds.

    Raises:
        VenueUnknownOutcome: nobody answers there.
        VenueRefused: the token differs.
    """
    try:
        over, names = open_connection(address, token, "", "", timeout=timeout)
    except (OSError, VenueProtocol) as error:
        raise VenueUnknownOutcome(f"no venue answers at {address}: {error}") from error
    over.close()
    return names


def _said(answer: wire.Answer, decoder: Decoder[T]) -> T:
    """Return what an answer says, or raise what it refuses with."""
    if answer.fault:
        fault = wire.FAULTS.get(answer.fault)
        if fault is None:
            raise VenueProtocol(f"an answer refuses with {answer.fault}, which is unknown here")
        raise fault(answer.words)
    try:
        return decoder.decode(answer.said)
    except msgspec.DecodeError as error:
        raise VenueProtocol(f"an answer is not of protocol {wire.PROTOCOL}: {error}") from error
