"""A paper venue: an honest second book with its own file, its own tables and its own arithmetic.

Every call is one SQLite transaction with synchronous=FULL, so a killed process loses nothing it
was told. An order meets the first bar after its creation, and `matching.match_bar` says what
becomes of it. A bar that misses the limit leaves a DAY order to expire with that session, what an
IOC or FOK lacks is cancelled, and a GTC order meets every later bar with what is left of it.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from pathlib import Path

from runtime.brokers.matching import Asked, match_bar, style_of
from runtime.brokers.record import Outcome, VenueRecord, Working
from runtime.brokers.terms import ALTERNATE, PRIMARY, VenueTerms
from runtime.chain import Head, HeadAnchor
from runtime.domain import Bar, Fill, Order, OrderReport, OrderState, Quote, TimeInForce
from runtime.errors import JournalBroken, OrderInvalid
from runtime.execution.fills import MarketState, Style
from runtime.journal.actions import Dividend, Reversal, Split
from runtime.kill.sequence import Resting
from runtime.ports import Statement

__all__ = ["ALTERNATE", "PRIMARY", "PaperVenue", "VenueTerms"]

_ENDS = {  # where what did not fill stands after a bar
    TimeInForce.DAY: OrderState.EXPIRED,
    TimeInForce.GTC: OrderState.WORKING,
    TimeInForce.IOC: OrderState.CANCELLED,
    TimeInForce.FOK: OrderState.CANCELLED,
    TimeInForce.CLS: OrderState.EXPIRED,
}


class PaperVenue:
    """A venue that executes on the next bar; implements `runtime.ports.Broker`."""

    def __init__(
        self,
        path: Path,
        terms: VenueTerms,
        *,
        states: Callable[[Bar], MarketState] | None = None,
        remembers: bool = False,
    ) -> None:
        """Open the venue's record, making it if it is not there.

        Args:
            path: of its file.
            terms: what it charges; with a `model`, how it fills.
            states: the market of a bar's name as known then; the mid alone if not given.
            remembers: whether what it shows is on record too, for who starts again by himself and
                is not told the bars anew.

        Raises:
            DatabaseUnavailable: the file cannot be opened.
        """
        self.terms = terms
        self._states = states or (lambda bar: MarketState(mid=float(bar.close)))
        self._bars: dict[str, Bar] = {}  # what is shown now; published again after a restart
        self._remembers = remembers
        self._record = VenueRecord(path, terms.name)

    @property
    def name(self) -> str:
        """The venue's name."""
        return self.terms.name

    def log_on(self, epoch: int) -> None:
        """Serve this process alone from now on, and no process of an earlier epoch.

        Whoever never logged on may ask and cancel, as the kill switch does, but place nothing once
        somebody has.

        Raises:
            Superseded: a later epoch has logged on.
        """
        self._record.log_on(epoch)

    def close(self) -> None:
        """Let go of the file."""
        self._record.close()

    def quote(self, symbol: str, at: datetime) -> Quote:
        """Return the close of the bar published last, moved by half the spread each way.

        Raises:
            OrderInvalid: no bar of that symbol was published at or before `at`.
        """
        bar = self._record.shown(symbol) if self._remembers else self._bars.get(symbol)
        if bar is None or bar.known_at > at:
            raise OrderInvalid(f"venue {self.name} has published no bar of {symbol} yet")
        return self.terms.quote(bar, at)

    def submit(self, order: Order) -> OrderState:
        """Take an order once; the same order again answers where it stands.

        Raises:
            OrderInvalid: it names another venue, its id was used for another order, or this venue
                does not trade it: the opening auction, or a peg where no queue is modelled.
        """
        if order.venue != self.name:
            raise OrderInvalid(f"order {order.order_id} is for {order.venue}, not for {self.name}")
        if style_of(order.order_type, order.time_in_force) is Style.MID_PEG and not (
            self.terms.model
        ):
            raise OrderInvalid(f"venue {self.name} fills at the close and so takes no pegs")
        return self._record.submit(order)

    def find(self, order_id: str) -> OrderState | None:
        """Return where an order stands, None if it never arrived."""
        return self._record.find(order_id)

    def report(self, order_id: str) -> OrderReport | None:
        """Return an order's quantities by this venue's record, None if it never arrived."""
        return self._record.report(order_id)

    def cancel(self, order_id: str) -> OrderState:
        """Cancel an order that is working; OrderInvalid if it never arrived."""
        self._record.cancel(order_id)
        state = self.find(order_id)
        if state is None:
            raise OrderInvalid(f"venue {self.name} never received order {order_id}")
        return state

    def working(self) -> Sequence[Resting]:
        """Return every order that is working, oldest first."""
        return self._record.resting()

    def expire_before(self, opened: datetime) -> None:
        """End what works and was created before `opened`: the session it was for went by unseen.

        What is good till cancelled is for every session and stays.
        """
        self._record.expire_before(opened)

    def on_bars(self, bars: Sequence[Bar], at: datetime) -> int:
        """Publish the bars of a session's close and execute what was working before it.

        Args:
            bars: one per symbol.
            at: UTC, the venue's time; a bar not known by then is refused.

        Returns:
            Executions made.

        Raises:
            OrderInvalid: a bar lies in the future or has no positive close.
        """
        for bar in bars:
            if max(bar.event_time, bar.known_at) > at or not bar.close > 0:
                raise OrderInvalid(
                    f"{bar.symbol}: bar of {bar.event_time} is not known or not valid"
                )
        if self._remembers:
            self._record.show(bars)
        else:
            self._bars.update((bar.symbol, bar) for bar in bars)
        if not bars or not self.working():
            return 0
        self._record.traded_by(self.terms.hash, repr(self.terms))
        return self._record.match(bars, self._outcome)

    def on_actions(self, actions: Sequence[Split | Dividend | Reversal]) -> int:
        """Take splits and dividends that are in effect, each once; return how many were new.

        What worked in a symbol before its split is cancelled.

        Raises:
            EntryConflict: an action of that id was taken with other content.
            OrderInvalid: it pays out fractions, or takes back a split that another one followed.
        """
        return self._record.act(actions) if actions else 0

    def _outcome(self, order: Working, bar: Bar | None) -> Outcome:
        """Return what a bar executes of an order, and where the order stands then."""
        ended = _ENDS[order.time_in_force]
        if bar is None:
            return Outcome(matched=None, state=ended)
        leaves = order.quantity - order.filled
        asked = Asked(
            side=order.side,
            quantity=leaves,
            limit_price=order.limit_price,
            style=style_of(order.order_type, order.time_in_force),
            trigger=order.stop_price,
            whole=order.time_in_force is TimeInForce.FOK,
            begun=order.filled > 0,
        )
        matched = match_bar(asked, bar, self.terms, self._states(bar))
        awake = not matched.asleep
        if not matched.quantity:
            return Outcome(matched=None, state=ended, awake=awake)
        state = OrderState.FILLED if matched.quantity == leaves else ended
        return Outcome(matched=matched, state=state, awake=awake)

    def executions(self, after: int, limit: int = -1) -> Sequence[tuple[int, Fill]]:
        """Return (number, fill) of executions numbered above `after`, in order; -1 = all."""
        return self._record.executions(after, limit)

    def traded_by(self) -> Sequence[tuple[int, str, str]]:
        """Return (number of the execution before, hash, text) of all terms it traded by."""
        return self._record.terms()

    def statement(self, day: date) -> Statement:
        """Return positions at the end of `day`, and its cash and executions.

        The day of an execution is the UTC date of its bar; XNYS and XNSE sessions close on their
        own UTC date.
        """
        return self._record.statement(day)

    def head(self) -> Head:
        """Return where the chain of this venue's record stands."""
        return self._record.head()

    def prove(self, anchors: Iterable[Head] = ()) -> Head:
        """Recompute the chain and hold the record against it; JournalBroken says what differs."""
        return self._record.prove(anchors)

    def served(self) -> bool:
        """Return whether a process of its own has published bars into the record."""
        return self._record.served()

    def prove_beside(self, anchor: HeadAnchor) -> Head:
        """Prove the record against the heads remembered in a file beside it.

        Raises:
            JournalBroken: it does not hold, or no head is there though a process of its own wrote
                it: whether its end was cut off cannot be told then.
        """
        heads = anchor.heads()
        head = self.prove(heads)
        if head.seq and not heads and self.served():
            raise JournalBroken(
                f"venue {self.name}: {head.seq} entries, and {anchor.path} remembers no head of "
                "them, so a cut-off end would not be noticed; hold the record against the journal "
                "with sluice venue reconcile, then remember its head with sluice audit --remember"
            )
        return head
