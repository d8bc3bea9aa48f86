"""What travels: observations on `features.pit`, a decision's signals on `signals.{strategy}`.

Both carry their own key, so that saying the same thing twice is one thing: an observation by what
it is about and its revision, signals by their decision's id.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import msgspec

from featurestore.online import OnlineStore
from featurestore.views import FeatureView
from runtime.clock import Clock
from runtime.decoding import from_msgpack
from runtime.errors import MessageInvalid
from runtime.journal.records import Said
from runtime.streams.consumer import Handler
from runtime.streams.port import Delivery, Message, checked_name

if TYPE_CHECKING:  # polars is loaded when the first observation is read
    import polars as pl

FEATURES = "features.pit"
REFUSED = "refused: "  # how the note of a decision begins that decided nothing
T = TypeVar("T", "Observation", "Signals")


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a feature view as it became known."""

    view: str
    entity: str
    event_time: datetime  # UTC
    known_at: datetime  # UTC
    revision: int = 0
    values: dict[str, int | float | None]  # field -> value

    @property
    def key(self) -> str:
        """Return what makes it this observation and no other."""
        return f"{self.view}/{self.entity}/{self.event_time.isoformat()}/{self.revision}"


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """What one decision says about its universe; an announcement, the journal is the record."""

    strategy: str
    bundle: str  # hash, hex
    tick: str  # e.g. "2017-01-31"
    decision_id: str
    decided_at: datetime  # UTC
    known_at: datetime  # UTC, newest knowledge time among the inputs
    symbols: tuple[str, ...]  # n
    scores: tuple[float, ...]  # (n,)
    weights: tuple[float, ...]  # (n,) target weights as the graph gave them
    refused: str = ""  # why nothing was decided: then there are no symbols, and no weight is meant

    @property
    def key(self) -> str:
        """Return what makes it this decision and no other: it tells account, bundle and tick."""
        return self.decision_id


def signals_stream(strategy: str) -> str:
    """Return the name of a strategy's stream; MessageInvalid if it would not travel well."""
    return checked_name(f"signals.{strategy}")


def signals_of(said: Said) -> Signals:
    """Return the announcement of a journalled decision."""
    return Signals(
        strategy=said.study,
        bundle=said.bundle,
        tick=said.tick,
        decision_id=said.decision_id,
        decided_at=said.decided_at,
        known_at=said.known_at,
        symbols=said.symbols,
        scores=said.scores,
        weights=said.weights,
        refused=next((note for note in said.notes if note.startswith(REFUSED)), ""),
    )


def observations_of(view: FeatureView, frame: "pl.DataFrame") -> list[Observation]:
    """Return a frame, as ingest takes it, row by row; ContractBroken if it does not fit."""
    from featurestore.contract import shaped

    return [
        Observation(
            view=view.name,
            entity=row["entity"],
            event_time=row["event_time"],
            known_at=row["known_at"],
            revision=row["revision"],
            values={field.name: row[field.name] for field in view.fields},
        )
        for row in shaped(view, frame).iter_rows(named=True)
    ]


def online_handler(store: OnlineStore, views: Mapping[str, FeatureView], clock: Clock) -> Handler:
    """Return a handler of `features.pit` that pushes every observation into an online store.

    It needs no inbox: pushing an observation again changes nothing.

    Args:
        store: where to push.
        views: declared views by name; an observation of another one is refused.
        clock: what is known later than now is refused.
    """

    def handle(found: Sequence[Delivery]) -> None:
        import polars as pl

        rows: dict[str, list[dict[str, object]]] = {}
        for delivery in found:
            each = observation(delivery)
            if each.view not in views:
                raise MessageInvalid(
                    f"message {delivery.id}: view {each.view} is not declared here; "
                    f"there are: {', '.join(sorted(views)) or 'none'}"
                )
            keys = ("entity", "event_time", "known_at", "revision")
            rows.setdefault(each.view, []).append(
                {name: getattr(each, name) for name in keys} | dict(each.values)
            )
        for name, observed in rows.items():
            schema = {
                field.name: pl.Int64() if field.dtype == "int64" else pl.Float64()
                for field in views[name].fields
            }
            frame = pl.DataFrame(observed, schema_overrides=schema, infer_schema_length=None)
            store.push(views[name], frame.unique(maintain_order=True), at=clock.now())

    return handle


def message(content: Observation | Signals) -> Message:
    """Return content ready to publish.

    Raises:
        MessageInvalid: a time has no zone, or the arrays of signals have different lengths.
    """
    times = (content.known_at, getattr(content, "event_time", None) or content.known_at)
    if any(each.tzinfo is None for each in times):
        raise MessageInvalid(f"{content.key}: times must carry a time zone, e.g. UTC")
    if isinstance(content, Signals):
        lengths = {len(each) for each in (content.symbols, content.scores, content.weights)}
        if len(lengths) != 1:
            raise MessageInvalid(f"{content.key}: symbols, scores and weights differ in length")
    return Message(content.key, msgspec.msgpack.encode(content))


def observation(delivery: Delivery) -> Observation:
    """Read an observation back; MessageInvalid if it is none."""
    return _decoded(delivery, Observation)


def signals(delivery: Delivery) -> Signals:
    """Read signals back; MessageInvalid if they are none."""
    return _decoded(delivery, Signals)


def _decoded(delivery: Delivery, kind: type[T]) -> T:
    try:
        return from_msgpack(delivery.payload, kind)
    except msgspec.MsgspecError as error:
        raise MessageInvalid(
            f"message {delivery.id} ({delivery.key}) is no {kind.__name__}: {error}"
        ) from error
