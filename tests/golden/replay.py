"""What the demo's replay traded, as hashes that only a change of behaviour changes.

Ids are left out: they derive from the bundle's hash, and that from the commit. `replay.json` holds
what stands and why. To let a change stand, run the demo and say so:

    just demo --no-serve
    .venv/bin/python -m tests.golden.replay --reason "what changed the orders or fills, and why"
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import msgspec

from runtime.database import open_database
from runtime.domain import Fill, Order
from runtime.journal.store import Journal

BASELINE = Path(__file__).with_name("replay.json")
DEMO = Path(".sluice/demo")
SHORTEST = 20  # characters of a reason


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """What one replay did."""

    orders: int
    orders_hash: str  # SHA-256 over what was asked for, in order
    fills: int
    fills_hash: str  # SHA-256 over what executed, in order of booking
    sessions: int
    equity_hash: str  # SHA-256 over day, cash and equity of each session
    equity: str  # USD at the last close
    reason: str = ""  # why these figures are the baseline


def fingerprint(journal: Journal) -> Golden:
    """Return the hashes of an account's orders, fills and closes."""
    ticks = {one.order.order_id: one.order.tick for one in journal.orders()}
    orders = [_asked(one.order) for one in journal.orders()]
    fills = [(ticks[one.fill.order_id], *_executed(one.fill)) for one in journal.fills()]
    closes = [
        (one.day.isoformat(), str(one.cash), str(one.equity)) for one in journal.equity_curve()
    ]
    return Golden(
        orders=len(orders),
        orders_hash=_hash(orders),
        fills=len(fills),
        fills_hash=_hash(fills),
        sessions=len(closes),
        equity_hash=_hash(closes),
        equity=closes[-1][2] if closes else "",
    )


def baseline() -> Golden:
    """Return what stands."""
    return msgspec.json.decode(BASELINE.read_bytes(), type=Golden)


def _asked(order: Order) -> tuple[str, ...]:
    return (
        order.tick,
        order.symbol,
        str(order.leg),
        order.venue,
        order.side.value,
        str(order.quantity),
        order.order_type.value,
        str(order.limit_price),
        order.time_in_force.value,
        order.created_at.isoformat(),
    )


def _executed(fill: Fill) -> tuple[str, ...]:
    return (
        fill.venue,
        fill.symbol,
        fill.side.value,
        str(fill.quantity),
        str(fill.price),
        str(fill.fee),
        fill.executed_at.isoformat(),
    )


def _hash(rows: list[tuple[str, ...]]) -> str:
    return hashlib.sha256(msgspec.json.encode(rows)).hexdigest()


def _replayed(workspace: Path) -> Journal:
    """Open the journal of the one bundle that a demo replayed."""
    engine = open_database(f"sqlite:///{workspace.absolute() / 'runtime.db'}")
    accounts = [name for name in Journal(engine).accounts() if name.startswith("replay-")]
    if len(accounts) != 1:
        sys.exit(f"{workspace} holds {len(accounts)} replays; run just demo --no-serve")
    return Journal(engine, accounts[0])


def main() -> None:
    """Write the baseline anew from a demo's workspace; a reason is asked for."""
    parser = argparse.ArgumentParser(description="Let the demo's replay be the baseline.")
    parser.add_argument("--reason", required=True, help="What changed it, and why that is right.")
    parser.add_argument("--workspace", type=Path, default=DEMO, help="Of a finished demo.")
    asked = parser.parse_args()
    if len(asked.reason.strip()) < SHORTEST:
        sys.exit(f"a reason has at least {SHORTEST} characters: what changed, and why it may")
    journal = _replayed(asked.workspace)
    journal.verify()
    found = msgspec.structs.replace(fingerprint(journal), reason=asked.reason.strip())
    BASELINE.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    sys.stdout.write(f"{BASELINE} holds {found.orders} orders and {found.fills} fills\n")


if __name__ == "__main__":
    main()
