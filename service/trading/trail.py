"""What a session did, as log lines under the id of the decision that asked for it.

The journal is the record; these lines are for whoever searches logs. They are written after the
session from what was committed, so they never say what did not happen.
"""

from dataclasses import dataclass, field

from runtime.engine import SessionOutcome
from runtime.journal.queries import JournalQueries
from runtime.journal.records import FillRecord
from service.logs import logger

LOG = logger("sluice.trail")


@dataclass(slots=True)
class Trail:
    """Follows one account's journal from one session to the next."""

    journal: JournalQueries
    _seq: int = field(default=-1)  # up to where it was told

    def begin(self) -> None:
        """Begin at the journal's end: what is there was told by whoever wrote it."""
        if self._seq < 0:
            self._seq = self.journal.head().seq

    def session(self, outcome: SessionOutcome) -> None:
        """Tell what one session committed: decision, orders, fills with their cents, the close."""
        day = outcome.day.isoformat()
        decided = outcome.decision
        if decided is not None:
            log = LOG.bind(correlation=decided.decision_id, session=day)
            log.info(
                "decided",
                study=decided.study,
                bundle=decided.bundle[:12],
                orders=outcome.orders,
                denied=outcome.denied,
                refused=outcome.refusal,
            )
            for record in self.journal.orders(decided.decision_id):
                order = record.order
                log.info(
                    "ordered",
                    order=order.order_id,
                    venue=order.venue,
                    side=order.side.value,
                    quantity=str(order.quantity),
                    symbol=order.symbol,
                    state=record.state.value,
                )
        for fill in self.journal.fills(after=self._seq):
            self._filled(fill, day)
        self._seq = self.journal.head().seq
        LOG.info(
            "closed" if outcome.equity is not None else "not closed",
            session=day,
            fills=outcome.fills,
            breaks=len(outcome.breaks),
            equity=None if outcome.equity is None else str(outcome.equity),
        )

    def _filled(self, record: FillRecord, day: str) -> None:
        fill, order = record.fill, self.journal.order(record.fill.order_id)
        LOG.info(
            "filled",
            correlation="" if order is None else order.decision_id,
            session=day,
            order=fill.order_id,
            execution=f"{fill.venue}/{fill.execution_id}",
            symbol=fill.symbol,
            side=fill.side.value,
            quantity=str(fill.quantity),
            price=str(fill.price),
            fee=str(fill.fee),
            posted={one.account: str(one.amount) for one in record.postings if one.amount},
        )
