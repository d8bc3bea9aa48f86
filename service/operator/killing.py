"""Engages and releases the kill switch for an operator; touches files and venues, no database."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace

from featurestore.errors import PlatformError
from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.brokers.remote import RemoteVenue, venue_names
from runtime.brokers.wire import address_of
from runtime.clock import Clock
from runtime.kill.sequence import KillReport, cancel_all
from runtime.kill.switch import KillSwitch, check_scope
from runtime.ports import Broker
from service.books.accounts import LIVE
from service.faults import ServiceFault
from service.operator.control import (
    EngagedAnswer,
    EngageRequest,
    KillAnswer,
    OpenOrder,
    ReleaseRequest,
    StopAnswer,
)
from service.settings import Settings


class StoppedHereOnly(ServiceFault):
    """The switch is on in this process and could not be written to disk for the others."""


@dataclass(frozen=True, slots=True)
class Killing:
    """The kill switch of one workspace and the venues it empties."""

    switch: KillSwitch
    brokers: Callable[[str], list[Broker]]  # account -> its venues
    clock: Clock

    def state(self) -> KillAnswer:
        """Return what is stopped."""
        stops = self._stops()
        return KillAnswer(engaged=bool(stops), stops=stops)

    def engage(self, asked: EngageRequest) -> EngagedAnswer:
        """Stop new orders, cancel all, confirm by query, report what is still open.

        Orders are cancelled at the live account's venues, or at those of the account that is
        named. A study's kill cancels all of them: a venue does not know studies, and a cancel too
        many is the safe mistake.

        Raises:
            ScopeUnknown: the scope would stop nothing.
            StoppedHereOnly: the disk failed; the cancels were sent nevertheless.
        """
        kind, _, name = check_scope(asked.scope).partition(".")
        failed: OSError | None = None
        try:
            self.switch.engage(asked.scope, asked.reason, by=asked.by, at=self.clock.now())
        except OSError as error:
            failed = error
        account = name if kind == "account" else LIVE
        report = self._cancel(account, name if kind == "symbol" else None)
        if failed is not None:
            raise StoppedHereOnly(
                f"the switch is on in this process only: {failed.strerror or failed};"
                f" {len(report.cancelled)} orders were cancelled",
                f"make the file {self.switch.folder / asked.scope} by hand, or stop sluice trade",
            )
        return EngagedAnswer(
            stops=self._stops(),
            found=report.found,
            cancelled=len(report.cancelled),
            ended=len(report.ended),
            still_open=tuple(OpenOrder(**asdict(one)) for one in report.still_open),
            unreachable=report.unreachable,
            complete=report.complete,
        )

    def release(self, asked: ReleaseRequest) -> KillAnswer:
        """Allow a scope again; ReleaseRefused unless two persons agree."""
        self.switch.release(
            asked.scope, by=asked.by, second=asked.second, reason=asked.reason, at=self.clock.now()
        )
        return self.state()

    def _cancel(self, account: str, symbol: str | None) -> KillReport:
        try:
            brokers = self.brokers(account)
        except PlatformError as error:
            return KillReport(
                found=0, cancelled=(), ended=(), still_open=(), unreachable=(str(error),)
            )
        with _closing(brokers):
            return cancel_all(brokers, symbol=symbol)

    def _stops(self) -> tuple[StopAnswer, ...]:
        return tuple(
            StopAnswer(scope=one.scope, reason=one.reason, by=one.by, at=one.at)
            for one in self.switch.state()
        )


def open_killing(settings: Settings, clock: Clock) -> Killing:
    """Open the workspace's kill switch; nothing else has to answer."""

    def brokers(account: str) -> list[Broker]:
        folder = settings.venue_records(account)
        # Every record that is there, whatever the venues' file says now: to cancel needs no terms.
        # A record of a venue in another process is one too: no answer is needed to cancel there.
        found: list[Broker] = [
            PaperVenue(path, replace(PRIMARY, name=path.stem))
            for path in sorted(folder.glob("*.db"))
        ]
        if settings.venue_url and account == LIVE:
            found += _elsewhere(settings, account)
        return found

    return Killing(KillSwitch.create(settings.workspace / "kill"), brokers, clock)


def _elsewhere(settings: Settings, account: str) -> tuple[RemoteVenue, ...]:
    """Return the venues of the process that settings name; one without a name if it is silent."""
    address = address_of(settings.venue_url)
    try:
        names = venue_names(address, settings.venue_token)
    except PlatformError:
        names = (str(address),)  # asked for what works there, it says why it gives no answer
    return tuple(
        RemoteVenue(address=address, token=settings.venue_token, account=account, name=name)
        for name in names
    )


@contextmanager
def _closing(brokers: list[Broker]) -> Iterator[None]:
    with ExitStack() as stack:
        for broker in brokers:
            if isinstance(broker, PaperVenue | RemoteVenue):
                stack.callback(broker.close)
        yield
