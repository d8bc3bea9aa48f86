"""Latency from decision to acknowledgement, measured in the journal and kept with its provenance.

What is kept are quantiles: a fill model draws from them as it would from all measurements.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np

from runtime.decoding import from_json
from runtime.domain import OrderState
from runtime.errors import LatencyUnmeasured, VenuesInvalid
from runtime.journal.store import Journal

QUANTILES = 101  # kept of a measurement: every percent
FEWEST = 20  # measurements that make a distribution
_ACKNOWLEDGED = (OrderState.WORKING, OrderState.FILLED)
_MILLISECOND = 1e-3


class MeasuredLatency(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution of latencies and where it was measured."""

    milliseconds: tuple[float, ...]  # ascending quantiles, evenly spaced
    orders: int  # acknowledgements behind them
    account: str
    first: datetime  # UTC, of the oldest decision
    last: datetime  # UTC
    journal_head: str  # hash the journal had, hex
    measured_at: datetime  # UTC


def measure_latency(journal: Journal, *, at: datetime) -> MeasuredLatency:
    """Return how long an account's orders took from their decision to a venue's answer.

    Orders that a venue never acknowledged are left out, and so is an answer that was only heard of
    in a later tick: that is an outage, not a latency.

    Args:
        journal: of the account.
        at: UTC, when this is measured.

    Raises:
        LatencyUnmeasured: fewer than 20 acknowledgements, or all at their decision's very instant,
            as in a replay, whose clock stands still while it decides.
    """
    seen: list[float] = []
    times: list[datetime] = []
    for record in journal.orders():
        order = record.order
        heard = next(
            (e.at for e in journal.order_events(order.order_id) if e.state in _ACKNOWLEDGED), None
        )
        if heard is None or heard.date() != order.created_at.date():
            continue
        seen.append((heard - order.created_at).total_seconds() / _MILLISECOND)
        times.append(order.created_at)
    if len(seen) < FEWEST:
        raise LatencyUnmeasured(
            f"account {journal.account} has {len(seen)} acknowledged orders, a distribution needs "
            f"{FEWEST}; trade on paper under the wall clock first"
        )
    if max(seen) <= 0.0:
        raise LatencyUnmeasured(
            f"account {journal.account} was replayed: its clock stood still between decision and "
            "answer, so nothing was measured; name an account that traded under the wall clock"
        )
    return MeasuredLatency(
        milliseconds=_quantiles(seen),
        orders=len(seen),
        account=journal.account,
        first=min(times),
        last=max(times),
        journal_head=journal.head().hash,
        measured_at=at,
    )


def _quantiles(seen: Sequence[float]) -> tuple[float, ...]:
    found = np.quantile(np.maximum(seen, 0.0), np.linspace(0.0, 1.0, QUANTILES))
    return tuple(np.round(found, 3).tolist())


def save_latency(path: Path, measured: MeasuredLatency) -> None:
    """Write a measurement to a file, whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(measured), indent=2) + b"\n"
    draft = path.with_suffix(".draft")
    draft.write_bytes(text)
    draft.replace(path)


def load_latency(path: Path) -> MeasuredLatency | None:
    """Return a kept measurement, None if there is none; VenuesInvalid if it is not one."""
    try:
        measured = from_json(path.read_bytes(), MeasuredLatency)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise VenuesInvalid(f"{path}: {error}; measure again with sluice latency --store") from None
    if any(not 0.0 <= ms < float("inf") for ms in measured.milliseconds):
        raise VenuesInvalid(f"{path}: a latency cannot be negative; measure again")
    return measured
