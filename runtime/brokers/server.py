"""A process that holds paper venues for those who trade: its own records, its own view of prices.

Every connection has a venue object, and so an epoch, of its own; what they share is the record in
its file. A call that is answered is on disk; whoever hears no answer asks by the order's id.
"""

import fcntl
import ipaddress
import logging
import os
import re
import secrets
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from featurestore.errors import PlatformError
from runtime.brokers import wire
from runtime.brokers.guests import CONNECTIONS, Guest, Guests
from runtime.brokers.paper import PaperVenue
from runtime.brokers.terms import VenueTerms
from runtime.chain import Head, HeadAnchor
from runtime.domain import Bar
from runtime.errors import (
    DatabaseUnavailable,
    OrderInvalid,
    RuntimeFault,
    VenueProtocol,
    VenueRefused,
)
from runtime.execution.fills import MarketState
from runtime.journal.actions import Dividend, Split

HANDSHAKE = 5.0  # seconds in all in which a caller has to say who it is
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")
_READS = (
    wire.AskQuote | wire.Find | wire.Report | wire.AskWorking | wire.AskExecutions
    | wire.AskStatement | wire.AskHead
)  # fmt: skip
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The venues of one process, and what it knows of the market by itself."""

    folder: Path  # of the records: ACCOUNT/VENUE.db, and VENUE.head with the heads of its chain
    terms: tuple[VenueTerms, ...]
    states: Callable[[Bar], MarketState] | None = None
    # Refuses bars that are not what the venue's own data says they were; None = it has no data.
    check: Callable[[Sequence[Bar], datetime], None] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of its venues."""
        return tuple(one.name for one in self.terms)

    def open(self, account: str, venue: str) -> PaperVenue:
        """Open an account's record at a venue, making it if it is not there.

        Raises:
            VenueRefused: there is no such venue, or no account can be called so.
        """
        terms = next((one for one in self.terms if one.name == venue), None)
        if terms is None:
            raise VenueRefused(f"no venue {venue!r} here; there are {', '.join(self.names)}")
        if not _ACCOUNT.fullmatch(account):
            raise VenueRefused(f"{account!r} is no name of an account")
        (self.folder / account).mkdir(parents=True, exist_ok=True)
        return PaperVenue(
            self.folder / account / f"{venue}.db", terms, states=self.states, remembers=True
        )

    def anchor(self, account: str, venue: str) -> HeadAnchor:
        """Return where the heads of a venue's chain are remembered outside its record."""
        return HeadAnchor(self.folder / account / f"{venue}.head")

    def prove(self) -> dict[str, Head]:
        """Prove every record that is there; JournalBroken names the first that does not hold."""
        found = {}
        for path in sorted(self.folder.glob("*/*.db")):
            account, venue = path.parent.name, path.stem
            if venue in self.names:
                with closing(self.open(account, venue)) as opened:
                    proved = opened.prove_beside(self.anchor(account, venue))
                    found[f"{account}/{venue}"] = proved
        return found


@dataclass(slots=True)
class Session:
    """One caller's connection to one venue of one account."""

    floor: Floor
    venue: PaperVenue
    guest: Guest
    guests: Guests

    def answer(self, question: wire.Question) -> Any:
        """Return what is asked for; a RuntimeFault says why not.

        Raises:
            VenueProtocol: the same caller has logged on over a later connection; nothing was done.
        """
        with self.guest.turn:
            self.guest.check()
            said = self._answer(question)
            if not isinstance(question, _READS):
                self._remember()
        if isinstance(question, wire.LogOn):
            self.guests.logged_on(self.guest, question.epoch)
        return said

    def _answer(self, question: wire.Question) -> Any:
        venue = self.venue
        match question:
            case wire.LogOn(epoch=epoch):
                venue.log_on(epoch)
                return None
            case wire.AskQuote(symbol=symbol, at=at):
                return venue.quote(symbol, at)
            case wire.Submit(order=order):
                return venue.submit(order)
            case wire.Find(order_id=order_id):
                return venue.find(order_id)
            case wire.Report(order_id=order_id):
                return venue.report(order_id)
            case wire.Cancel(order_id=order_id):
                return venue.cancel(order_id)
            case wire.AskWorking():
                return venue.working()
            case wire.ExpireBefore(opened=opened):
                return venue.expire_before(opened)
            case wire.OnBars(bars=bars, at=at):
                return self._publish(bars, at)
            case wire.OnActions(splits=splits, dividends=dividends, reversals=back):
                both: list[Split | Dividend] = [*dividends, *splits]  # paid on units before
                return venue.on_actions([*back, *sorted(both, key=lambda one: one.effective)])
            case wire.AskExecutions(after=after):
                return venue.executions(after, wire.PAGE)
            case wire.AskStatement(day=day):
                return venue.statement(day)
            case wire.AskHead():
                return venue.head()

    def _publish(self, bars: Sequence[Bar], at: datetime) -> int:
        if self.floor.check is not None:
            try:
                self.floor.check(bars, at)
            except OrderInvalid:
                raise
            except PlatformError as error:
                raise VenueRefused(
                    f"the venue's own data cannot say whether these bars are right: {error}"
                ) from error
        return self.venue.on_bars(bars, at)

    def _remember(self) -> None:
        """Write the chain's head where the record's own file does not reach."""
        self.floor.anchor(self.guest.account, self.venue.name).record(self.venue.head())


class _Handler(socketserver.BaseRequestHandler):
    """Serves one connection on a thread of its own."""

    server: "_Listening"

    def handle(self) -> None:
        """Greet, learn who it is, then answer until the caller is gone."""
        caller: socket.socket = self.request
        try:
            session = self._handshake(caller)
            if session is not None:
                with closing(session.venue):
                    self._converse(caller, session)
        except VenueProtocol as error:
            log.warning("a caller is cut off: %s", error)
        except OSError:
            log.debug("a caller has gone")

    def _handshake(self, caller: socket.socket) -> Session | None:
        """Return who asks for what, None if it is only told what there is, or is refused."""
        deadline = time.monotonic() + HANDSHAKE
        caller.settimeout(HANDSHAKE)
        nonce = secrets.token_hex(16)
        wire.send(caller, wire.Greeting(protocol=wire.PROTOCOL, nonce=nonce))
        hello: wire.Hello = wire.read(
            wire.receive(caller, wire.STRANGER, deadline=deadline), wire.Hello
        )
        floor, token = self.server.floor, self.server.token
        parts = (nonce, hello.nonce, hello.account, hello.venue)
        session = None
        try:
            if not wire.proved(hello.proof, token, "client", *parts):
                raise VenueRefused("the token is another one here")
            guests = self.server.guests
            guest = guests.proved(caller, hello.account, hello.venue)
            if hello.venue:
                session = Session(floor, floor.open(hello.account, hello.venue), guest, guests)
        except VenueProtocol:
            raise
        except RuntimeFault as error:
            log.warning("a caller is refused: %s", error)
            wire.send(caller, _refusal(0, error))
            return None
        proof = wire.proof(token, "venue", *parts)
        welcome = wire.Welcome(proof=proof, venues=floor.names)
        wire.send(caller, _answer(0, welcome))
        caller.settimeout(None)
        return session

    def _converse(self, caller: socket.socket, session: Session) -> None:
        while True:
            asked: wire.Asked = wire.read(wire.receive(caller), wire.Asked)
            try:
                question = wire.read(asked.question, wire.Question)
                said = _answer(asked.number, session.answer(question))
            except RuntimeFault as error:
                if type(error).__name__ not in wire.FAULTS:
                    raise VenueProtocol(f"no answer to question {asked.number}: {error}") from error
                said = _refusal(asked.number, error)
            wire.send(caller, said)


def _answer(number: int, said: Any) -> wire.Answer:
    return wire.Answer(number=number, said=msgspec.Raw(msgspec.json.encode(said)))


def _refusal(number: int, error: RuntimeFault) -> wire.Answer:
    return wire.Answer(number=number, fault=type(error).__name__, words=str(error))


def _of_this_host(address: wire.Address) -> bool:
    """Return whether nobody but this host reaches an address; a name may lead anywhere."""
    if address.path is not None or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


class _Listening(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens at a port, or at a socket in a file."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = CONNECTIONS

    def __init__(self, address: wire.Address, floor: Floor, token: str) -> None:
        self.floor, self.token = floor, token
        self.guests = Guests()
        if address.path is not None:
            self.address_family = socket.AF_UNIX
            super().__init__(str(address.path), _Handler)  # type: ignore[arg-type]
        else:
            self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        """Bind; a socket in a file is its owner's alone from its first moment."""
        before = os.umask(0o177)
        try:
            super().server_bind()
        finally:
            os.umask(before)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Keep the connection, to be able to end it."""
        self.guests.arrived(request)
        request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        self.guests.left(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what nobody expected; the caller hears no answer, and asks."""
        log.exception("a caller is cut off")


@dataclass(slots=True)
class VenueServer:
    """Serves a floor until it is told to stop; one process a folder."""

    floor: Floor
    address: wire.Address
    token: str = field(repr=False)
    exposed: bool = False  # whether other hosts may reach it, though nothing is encrypted
    _lock: int = -1
    _listening: _Listening | None = None

    def start(self) -> None:
        """Prove the records, take the folder for this process alone, and listen.

        Raises:
            JournalBroken: a record does not hold.
            DatabaseUnavailable: another process serves this folder.
            VenueRefused: the address cannot be listened on, or not without `exposed`, or there is
                no token.
        """
        if not self.token:
            raise VenueRefused("a venue needs a token; set SLUICE_VENUE_TOKEN")
        if not (self.exposed or _of_this_host(self.address)):
            raise VenueRefused(
                f"other hosts can reach {self.address}, and what is sent there is not encrypted; "
                "listen at 127.0.0.1 or a unix:// socket, or say --exposed where a tunnel or the "
                "network itself keeps others out"
            )
        self.floor.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.floor.folder / "venue.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise DatabaseUnavailable(
                f"another process serves the venues in {self.floor.folder}"
            ) from None
        try:
            self.floor.prove()
            if self.address.path is not None:  # of a process that was killed; the lock is ours
                self.address.path.unlink(missing_ok=True)
            self._listening = _Listening(self.address, self.floor, self.token)
        except OSError as error:
            os.close(self._lock)
            why = error.strerror or error  # a path too long for a socket has words alone
            raise VenueRefused(f"cannot listen at {self.address}: {why}") from error
        except RuntimeFault:
            os.close(self._lock)
            raise
        serving = threading.Thread(
            target=self._listening.serve_forever, args=(0.05,), daemon=True, name="venue"
        )
        serving.start()

    @property
    def url(self) -> str:
        """Return where it listens, with the port it was given."""
        if self._listening is None or self.address.path is not None:
            return str(self.address)
        return f"tcp://{self.address.host}:{self._listening.server_address[1]}"

    def stop(self) -> None:
        """End every connection and let go of the folder."""
        if self._listening is not None:
            self._listening.shutdown()
            self._listening.server_close()
            self._listening.guests.end_all()
            self._listening = None
            os.close(self._lock)
