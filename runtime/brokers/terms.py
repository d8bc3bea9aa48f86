"""What paper venues charge, show and fill by: read from a file of venues, one for all who trade.

The backtest's realistic mode and the venues take the same terms, so they cost the same.
"""

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from runtime.decoding import from_plain
from runtime.domain import Bar, Quote, Side
from runtime.errors import OrderInvalid, VenuesInvalid
from runtime.execution.fills import FillTerms, Latency

EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)  # products of prices never round
PRICE = Decimal("0.000001")

SaleFees: TypeAlias = Literal["none", "us"]  # "us": Section 31 and FINRA's, as dated


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueTerms:
    """What a venue charges and shows."""

    name: str
    half_spread: Decimal  # fraction of the close, paid on each side
    fee_rate: Decimal  # fraction of notional, rounded half-up to the cent per execution
    depth: Decimal  # USD shown at each side
    model: FillTerms | None = None  # latency, queue and impact; None = the close and half a spread
    ticket_charge: Decimal = Decimal(0)  # USD per order, whole cents, with its first execution
    sale_fees: SaleFees = "none"  # what regulators take of a sale, on top

    def __post_init__(self) -> None:
        if not (0 <= self.half_spread < 1 and 0 <= self.fee_rate < 1 and self.depth > 0):
            raise OrderInvalid(f"{self.name}: spread and fee must lie in [0, 1), depth above zero")
        charge = self.ticket_charge
        if not (charge.is_finite() and 0 <= charge < 1_000_000 and charge * 100 % 1 == 0):
            raise OrderInvalid(
                f"{self.name}: ticket_charge must be whole cents below a million USD, was {charge}"
            )

    @property
    def hash(self) -> str:
        """Return SHA-256 over all terms, hex; measured latencies included."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def shown(self, close: Decimal) -> Decimal:
        """Return the whole units that the venue shows at each side of a close."""
        return self.depth // close

    def price(self, close: Decimal, side: Side) -> Decimal:
        """Return the close moved against the taker by half the spread, 6 places."""
        spread = EXACT.multiply(close, self.half_spread)
        moved = EXACT.add(close, spread) if side is Side.BUY else EXACT.subtract(close, spread)
        return EXACT.quantize(moved, PRICE)

    def quote(self, bar: Bar, at: datetime) -> Quote:
        """Return what the venue shows once a bar is published."""
        close = bar.close
        spread = EXACT.multiply(close, self.half_spread)
        return Quote(
            venue=self.name,
            symbol=bar.symbol,
            bid=EXACT.quantize(EXACT.subtract(close, spread), PRICE),
            ask=EXACT.quantize(EXACT.add(close, spread), PRICE),
            size=self.depth // close,
            fee_rate=self.fee_rate,
            at=at,
            ticket_charge=self.ticket_charge,
        )


# Both cost about 5 basis points all in, the cost that studies assume.
PRIMARY = VenueTerms(
    name="primary",
    half_spread=Decimal("0.00025"),
    fee_rate=Decimal("0.00025"),
    depth=Decimal(100_000),
)
ALTERNATE = VenueTerms(
    name="alternate",
    half_spread=Decimal("0.00035"),
    fee_rate=Decimal("0.00017"),
    depth=Decimal(500_000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperMarket:
    """The venues of a desk, and what they look at to know the state of a market."""

    venues: tuple[VenueTerms, ...]
    volatility_window: int  # sessions
    volume: str | None  # "view.field", units traded a day; None = unknown, no impact is charged

    @property
    def hash(self) -> str:
        """Return SHA-256 over everything a fill depends on besides the market, hex."""
        parts = [one.hash for one in self.venues]
        parts += [str(self.volatility_window), self.volume or ""]
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()

    @property
    def uses_measured_latency(self) -> bool:
        """Say whether a venue's latencies are the runtime's own."""
        return any(one.model is not None and one.model.latency.measured for one in self.venues)


class _Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table [model] of a file of venues: what all its modelled venues share."""

    latency_ms: tuple[float, float] = (200.0, 500.0)
    measured: bool = True
    impact: float = 1.0
    queue_share: float = 0.1
    adverse: float = 0.5
    peg_seconds: float = 1_800.0
    borrow_rate: float = 0.0
    volatility_window: int = 63
    volume: str = ""


class _Venue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table [[venue]]."""

    name: str
    half_spread: Decimal
    fee_rate: Decimal
    depth: Decimal
    ticket_charge: Decimal = Decimal(0)
    sale_fees: SaleFees = "none"
    fills: Literal["model", "close"] = "model"


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: _Model = _Model()
    venue: tuple[_Venue, ...] = ()


def parse_venues(
    text: str, source: str = "venues", *, measured: Sequence[float] = ()
) -> PaperMarket:
    """Read paper venues from TOML.

    Args:
        text: the file's content.
        source: how to call it in an error.
        measured: milliseconds from decision to acknowledgement, as the runtime saw them; taken
            instead of the file's range unless it says `measured = false`.

    Raises:
        VenuesInvalid: not TOML, an unknown name, a number no market has, or no venue.
    """
    try:
        said = from_plain(tomllib.loads(text, parse_float=Decimal), _File, strict=False)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise VenuesInvalid(f"{source}: {error}") from error
    names = [one.name for one in said.venue]
    if not names or len(set(names)) < len(names):
        raise VenuesInvalid(f"{source}: needs at least one [[venue]], each with a name of its own")
    if said.model.volatility_window < 2:
        raise VenuesInvalid(f"{source}: model.volatility_window must be 2 sessions or more")
    try:
        venues = tuple(_terms(one, said.model, measured) for one in said.venue)
    except OrderInvalid as error:
        raise VenuesInvalid(f"{source}: {error}") from error
    return PaperMarket(
        venues=venues,
        volatility_window=said.model.volatility_window,
        volume=said.model.volume or None,
    )


def _terms(venue: _Venue, model: _Model, measured: Sequence[float]) -> VenueTerms:
    plain = VenueTerms(
        name=venue.name,
        half_spread=venue.half_spread,
        fee_rate=venue.fee_rate,
        depth=venue.depth,
        ticket_charge=venue.ticket_charge,
        sale_fees=venue.sale_fees,
    )
    if venue.fills == "close":
        return plain
    low, high = model.latency_ms
    seen = tuple(measured) if model.measured else ()
    filled = FillTerms(
        half_spread=float(venue.half_spread),
        fee_rate=float(venue.fee_rate),
        borrow_rate=model.borrow_rate,
        impact=model.impact,
        latency=Latency(low=low, high=high, measured=seen),
        queue_share=model.queue_share,
        adverse=model.adverse,
        peg_seconds=model.peg_seconds,
    )
    return replace(plain, model=filled)


def load_venues(path: Path | None, *, measured: Sequence[float] = ()) -> PaperMarket:
    """Read a file of venues, the packaged one for None; VenuesInvalid as `parse_venues`."""
    if path is None:
        text = files("runtime.brokers").joinpath("venues.toml").read_text("utf-8")
        return parse_venues(text, "venues.toml", measured=measured)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise VenuesInvalid(f"{path}: cannot be read ({error})") from error
    return parse_venues(text, str(path), measured=measured)
