"""Where a symbol stands, and what is known of it: state, bands, best quotes, price test."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple


class MarketState(StrEnum):
    """Where a symbol stands (market-rules, section 2); only NORMAL takes new risk."""

    NORMAL = "normal"
    LIMIT = "limit"
    STRADDLE = "straddle"
    PAUSE = "pause"
    CLOSE_ONLY = "close only"
    HALTED = "halted"  # any halt code, known or not
    UNKNOWN = "unknown"


class Bands(NamedTuple):
    """Price bands: no trade below `lower` or above `upper`, USD per unit."""

    lower: Decimal
    upper: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is known of a symbol, each part with the time it was published.

    A part that is None was not published; a check that needs it blocks.
    """

    state: MarketState
    at: datetime  # UTC, of the state
    code: str = ""  # halt reason code, where one is on
    banded: bool = True  # False: rights and warrants, which have no bands
    bands: Bands | None = None
    bands_at: datetime | None = None  # UTC
    bid: Decimal | None = None  # national best bid, USD per unit
    offer: Decimal | None = None
    quoted_at: datetime | None = None  # UTC
    restricted: bool | None = None  # the short-sale price test is in force; None = not known
    restricted_at: datetime | None = None  # UTC


_STRICTEST = (MarketState.HALTED, MarketState.CLOSE_ONLY)  # no halt makes these any stricter


def overlaid(
    known: Mapping[str, Published], halted: Mapping[str, Published]
) -> dict[str, Published]:
    """Return what is known of symbols with halts on top of it, each as strict as the stricter.

    A symbol that is not halted stays as it is: what is not known of it stays unknown, and a state
    that has grown old stays old.
    """
    found = dict(known)
    for symbol, halt in halted.items():
        below = known.get(symbol)
        if below is None:
            found[symbol] = halt
            continue
        kept = below.state in _STRICTEST
        found[symbol] = replace(
            below,
            state=below.state if kept else halt.state,
            code=below.code if kept and below.code else halt.code,
            at=halt.at,  # it does not grow old: it is on until somebody resumes the symbol
        )
    return found
