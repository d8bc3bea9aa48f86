"""The published market: the last message of each kind per symbol, and a cross-check of it.

What was not published stays absent, and what is absent blocks. Ages are judged by the guardrails.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from runtime.market.halts import EVERYTHING, HaltBook
from runtime.market.states import Bands, MarketState, Published, overlaid


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """Where the computed market differs from the published one."""

    symbol: str
    what: str  # "state", "lower band", "upper band"
    published: str
    computed: str


@dataclass(slots=True)
class MarketBoard:
    """Takes published messages in any order of symbols; `published` is a desk's market."""

    halts: HaltBook
    _lines: dict[str, Published] = field(default_factory=dict)

    def status(self, symbol: str, state: MarketState, at: datetime) -> None:
        """Take a published state; an older message than the last is ignored."""
        line = self._lines.get(symbol)
        if line is None:
            self._lines[symbol] = Published(state=state, at=at)
        elif at >= line.at:
            self._lines[symbol] = replace(line, state=state, at=at)

    def bands(self, symbol: str, lower: Decimal, upper: Decimal, at: datetime) -> None:
        """Take published bands."""
        line = self._line(symbol, at)
        if line.bands_at is None or at >= line.bands_at:
            self._lines[symbol] = replace(line, bands=Bands(lower, upper), bands_at=at)

    def quote(self, symbol: str, bid: Decimal | None, offer: Decimal | None, at: datetime) -> None:
        """Take the national best bid and offer."""
        line = self._line(symbol, at)
        if line.quoted_at is None or at >= line.quoted_at:
            self._lines[symbol] = replace(line, bid=bid, offer=offer, quoted_at=at)

    def restriction(self, symbol: str, in_force: bool, at: datetime) -> None:
        """Take the published short-sale restriction."""
        line = self._line(symbol, at)
        if line.restricted_at is None or at >= line.restricted_at:
            self._lines[symbol] = replace(line, restricted=in_force, restricted_at=at)

    def unbanded(self, symbol: str, at: datetime) -> None:
        """Note that a symbol has no bands: a right or a warrant."""
        self._lines[symbol] = replace(self._line(symbol, at), banded=False)

    def halt(self, symbol: str, code: str, at: datetime, until: datetime | None = None) -> None:
        """Take a halt of one symbol, or of `EVERYTHING`."""
        self.halts.halt(symbol, code, at, until)
        if symbol != EVERYTHING:
            self._line(symbol, at)

    def resume(self, symbol: str, at: datetime, code: str | None = None) -> bool:
        """Take an explicit resume; return whether no halt is left."""
        return self.halts.resume(symbol, at, code)

    def published(self, at: datetime) -> Mapping[str, Published]:
        """Return every symbol as published; a halt that is on stands above its state."""
        return overlaid(self._lines, self.halts.halted(self._lines, at))

    def _line(self, symbol: str, at: datetime) -> Published:
        """Return a symbol's line; one without a published state is UNKNOWN."""
        if symbol not in self._lines:
            self._lines[symbol] = Published(state=MarketState.UNKNOWN, at=at)
        return self._lines[symbol]


def cross_check(
    published: Mapping[str, Published], computed: Mapping[str, Published]
) -> tuple[Disagreement, ...]:
    """Compare what is published with what we compute; the published one stays in force."""
    found = []
    for symbol in sorted(published.keys() | computed.keys()):
        ours, theirs = computed.get(symbol), published.get(symbol)
        pairs: list[tuple[str, object, object]] = [
            ("state", theirs and theirs.state.value, ours and ours.state.value)
        ]
        if ours and theirs and ours.bands and theirs.bands:
            pairs.append(("lower band", theirs.bands.lower, ours.bands.lower))
            pairs.append(("upper band", theirs.bands.upper, ours.bands.upper))
        found += [
            Disagreement(symbol=symbol, what=what, published=str(left), computed=str(right))
            for what, left, right in pairs
            if left != right
        ]
    return tuple(found)
