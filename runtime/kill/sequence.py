"""The kill sequence at the venues: cancel all that works, confirm by query, say what is left.

It asks the venues themselves and needs no journal. Stopping new orders comes before it, by
`runtime.kill.switch`; booking the cancels comes after it, when the engine next settles.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from featurestore.errors import PlatformError
from runtime.domain import OrderState
from runtime.ports import Broker

ATTEMPTS = 5  # times a venue is asked one question
_SILENT = (PlatformError, OSError)


class Resting(NamedTuple):
    """An order that works at a venue."""

    order_id: str
    symbol: str


@runtime_checkable
class ListsWorking(Protocol):
    """A venue that can say what works there, whatever our own records hold."""

    def working(self) -> Sequence[Resting]:
        """Return every order that is working."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StillOpen:
    """An order of which nobody could confirm that it no longer works."""

    venue: str
    order_id: str
    symbol: str
    state: str  # what the venue said last
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KillReport:
    """What the sequence found and left."""

    found: int  # orders that worked
    cancelled: tuple[str, ...]  # confirmed by the venue
    ended: tuple[str, ...]  # confirmed, but filled or over before the cancel arrived
    still_open: tuple[StillOpen, ...]
    unreachable: tuple[str, ...]  # venues that could not say what works there, with the reason

    @property
    def complete(self) -> bool:
        """Say whether it is certain that nothing works any more."""
        return not self.still_open and not self.unreachable


def cancel_all(brokers: Iterable[Broker], *, symbol: str | None = None) -> KillReport:
    """Cancel everything that works, or everything in one symbol; one venue never stops another.

    Args:
        brokers: the venues.
        symbol: None = all symbols.
    """
    found, cancelled, ended = 0, [], []
    left: list[StillOpen] = []
    unreachable = []
    for broker in brokers:
        listed, why = _listed(broker)
        if listed is None:
            unreachable.append(f"{broker.name}: {why}")
            continue
        wanted = [one for one in listed if symbol in (None, one.symbol)]
        found += len(wanted)
        for one in wanted:
            _cancel(broker, one)
        for one in wanted:
            state, note = _confirm(broker, one)
            if state is OrderState.CANCELLED:
                cancelled.append(one.order_id)
            elif state is not None and state.terminal:
                ended.append(one.order_id)
            else:
                left.append(_open(broker, one, state, note))
        # Whatever arrived while we were cancelling is reported, not assumed away.
        again, why = _listed(broker)
        if again is None:
            unreachable.append(f"{broker.name}: {why}")
            continue
        known = {one.order_id for one in wanted}
        for one in again:
            if symbol in (None, one.symbol) and one.order_id not in known:
                left.append(_open(broker, one, OrderState.WORKING, "arrived meanwhile"))
    return KillReport(
        found=found,
        cancelled=tuple(cancelled),
        ended=tuple(ended),
        still_open=tuple(left),
        unreachable=tuple(unreachable),
    )


def _listed(broker: Broker) -> tuple[Sequence[Resting] | None, str]:
    if not isinstance(broker, ListsWorking):
        return None, "this venue cannot list its working orders"
    why = ""
    for _ in range(ATTEMPTS):
        try:
            return broker.working(), ""
        except _SILENT as error:
            why = str(error)
    return None, why


def _cancel(broker: Broker, one: Resting) -> str:
    """Ask for a cancel; an answer that is lost is asked about afterwards."""
    why = ""
    for _ in range(ATTEMPTS):
        try:
            broker.cancel(one.order_id)
        except _SILENT as error:
            why = str(error)
        else:
            return ""
    return why


def _confirm(broker: Broker, one: Resting) -> tuple[OrderState | None, str]:
    """Ask where an order stands, and cancel once more if it still works."""
    state, why = None, ""
    for _ in range(ATTEMPTS):
        try:
            state = broker.find(one.order_id)
        except _SILENT as error:
            why = str(error)
            continue
        if state is None or state.terminal:
            return state, ""
        why = _cancel(broker, one)
    return state, why


def _open(broker: Broker, one: Resting, state: OrderState | None, reason: str) -> StillOpen:
    return StillOpen(
        venue=broker.name,
        order_id=one.order_id,
        symbol=one.symbol,
        state="no answer" if state is None else state.value,
        reason=reason or "the venue does not confirm the cancel",
    )
