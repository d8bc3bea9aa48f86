"""What a venue costs beyond its price and fee: fills that do not come, delay, what happens after.

    expected cost of a unit there = price, fee
        + (1 - fill probability) x what it costs to come back for what did not fill
        + latency x how fast the price runs away
        + adverse selection, the move against us after a fill

Estimates are learned from what happened at the venue, pulled towards a prior so that a venue seen
twice is neither trusted nor shunned for it. Units are taken where the sum is least.

Source: Cartea, Jaimungal & Penalva (2015), "Algorithmic and High-Frequency Trading", chapters 2
and 8, for the parts of execution cost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from msgspec.structs import replace

from runtime.errors import OrderInvalid
from runtime.routing.router import Ladder

_STEP = Decimal("0.00000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one child order."""

    venue: str
    asked: float  # units at the price that was shown
    filled: float  # of them
    latency: float  # seconds from sending to the answer
    after: float  # fraction of price that the market moved against the fill; 0 without a fill


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is believed of a venue that was never seen, and how much evidence that is worth."""

    fill: float = 0.95  # probability that what is shown can be had
    latency: float = 0.3  # seconds
    adverse: float = 0.0  # fraction of price
    weight: float = 20.0  # child orders


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueQuality:
    """What a venue is expected to do with the next child order."""

    venue: str
    fill: float  # probability, of a unit that is shown
    latency: float  # seconds
    adverse: float  # fraction of price
    seen: int  # child orders behind the estimate

    def __post_init__(self) -> None:
        if not (0 <= self.fill <= 1 and self.latency >= 0):
            raise OrderInvalid(
                f"{self.venue}: a fill probability of {self.fill} or a latency of {self.latency} s"
                " is not possible"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What misses and delay cost in a symbol, as fractions of price."""

    miss: float  # to come back for a unit that did not fill, usually the spread or more
    drift: float  # per second that the price runs away from an order on its way


def learn(outcomes: Iterable[Outcome], prior: Prior | None = None) -> dict[str, VenueQuality]:
    """Estimate each venue from what became of child orders there.

    Args:
        outcomes: any number, in any order.
        prior: the belief before; the estimates are weighted means with it.

    Returns:
        One estimate a venue that was seen.
    """
    before = prior or Prior()
    sums: dict[str, list[float]] = {}
    for one in outcomes:
        total = sums.setdefault(one.venue, [0.0, 0.0, 0.0, 0.0, 0.0])
        share = one.filled / one.asked
        total[0] += 1
        total[1] += share
        total[2] += one.latency
        total[3] += one.after * share
        total[4] += share
    return {
        venue: VenueQuality(
            venue=venue,
            fill=(before.weight * before.fill + filled) / (before.weight + count),
            latency=(before.weight * before.latency + waited) / (before.weight + count),
            adverse=(before.weight * before.adverse + moved) / (before.weight + weight),
            seen=int(count),
        )
        for venue, (count, filled, waited, moved, weight) in sums.items()
    }


def burdened(
    shown: Sequence[Ladder],
    qualities: Mapping[str, VenueQuality],
    costs: Costs,
    prior: Prior | None = None,
) -> list[Ladder]:
    """Return the ladders with what each venue is expected to cost on top of price and fee.

    Args:
        shown: of one side of a symbol.
        qualities: by venue; a venue that was never seen is taken at the prior.
        costs: of the symbol now.
        prior: as for `learn`.
    """
    before = prior or Prior()
    return [
        replace(ladder, burden=_burden(ladder, qualities.get(ladder.venue), costs, before))
        for ladder in shown
    ]


def _burden(ladder: Ladder, known: VenueQuality | None, costs: Costs, prior: Prior) -> Decimal:
    """Return USD per unit at the venue's best price."""
    fill, latency, adverse = (
        (prior.fill, prior.latency, prior.adverse)
        if known is None
        else (known.fill, known.latency, known.adverse)
    )
    share = (1 - fill) * costs.miss + latency * costs.drift + adverse
    amount = Decimal(repr(share)) * ladder.levels[0][0]
    return amount.quantize(_STEP, rounding=ROUND_HALF_EVEN)
