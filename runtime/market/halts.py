"""Which symbols are halted, by which code; a halt ends only when somebody says so."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from runtime.market.rules import HaltCodes
from runtime.market.states import MarketState, Published

EVERYTHING = "*"  # a halt of the whole market


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """One halt that is on."""

    symbol: str
    code: str
    at: datetime  # UTC
    until: datetime | None = None  # UTC, a resume before it is not believed; None = no timer

    @property
    def market_wide(self) -> bool:
        """Say whether it stops every symbol."""
        return self.symbol == EVERYTHING


def effect_of(rules: HaltCodes, code: str) -> MarketState | None:
    """Return the state a code puts a symbol in, None for a mere notice; unknown codes halt."""
    effect = rules.codes.get(code, "halted")
    if effect == "none":
        return None
    return MarketState.PAUSE if effect == "pause" else MarketState.HALTED


@dataclass(slots=True)
class HaltBook:
    """Every halt that is on; fed in the order of time. It forgets nothing over night."""

    rules: HaltCodes
    _halts: dict[str, dict[str, Halt]] = field(default_factory=dict)  # symbol -> code -> halt
    _wide: dict[str, Halt] = field(default_factory=dict)  # code -> market-wide halt
    _resumed: dict[str, datetime] = field(default_factory=dict)  # symbol -> its last resume

    def halt(
        self, symbol: str, code: str, at: datetime, until: datetime | None = None
    ) -> MarketState | None:
        """Take a halt message; `EVERYTHING` stops the market. A notice changes nothing."""
        state = effect_of(self.rules, code)
        if state is not None:
            one = Halt(symbol=symbol, code=code, at=at, until=until)
            if one.market_wide:
                self._wide[code] = one
            else:
                self._halts.setdefault(symbol, {})[code] = one
        return state

    def resume(self, symbol: str, at: datetime, code: str | None = None) -> bool:
        """Take the explicit resume of one symbol; return whether it trades again.

        Args:
            symbol: never the whole market: each symbol reopens at its primary market.
            at: UTC. A resume from before a halt's timer ends leaves that halt on.
            code: the halt that ends; None = all of the symbol's, and the market's for it.
        """
        if symbol == EVERYTHING:
            return False
        own = self._halts.get(symbol, {})
        for name in list(own):
            one = own[name]
            if code in (None, name) and (one.until is None or at >= one.until):
                del own[name]
        over = all(one.until is None or at >= one.until for one in self._wide_for(symbol))
        if over and (code is None or code in self._wide):
            self._resumed[symbol] = at
        return self.on(symbol) is None

    def on(self, symbol: str) -> Halt | None:
        """Return the halt that stops a symbol, the market's first; None if it trades."""
        wide = self._wide_for(symbol)
        if wide:
            return wide[0]
        own = self._halts.get(symbol)
        return next(iter(own.values())) if own else None

    def state(self, symbol: str) -> MarketState | None:
        """Return the state its halts put a symbol in, None if nothing halts it."""
        states = [effect_of(self.rules, one.code) for one in self._all(symbol)]
        if not states:
            return None
        return MarketState.HALTED if MarketState.HALTED in states else MarketState.PAUSE

    def halted(self, symbols: Iterable[str], at: datetime) -> dict[str, Published]:
        """Return those of some symbols that are halted, as of `at`."""
        found = {}
        for symbol in symbols:
            halt, state = self.on(symbol), self.state(symbol)
            if halt is not None and state is not None:
                found[symbol] = Published(state=state, at=at, code=halt.code)
        return found

    def _all(self, symbol: str) -> list[Halt]:
        return [*self._wide_for(symbol), *self._halts.get(symbol, {}).values()]

    def _wide_for(self, symbol: str) -> list[Halt]:
        resumed = self._resumed.get(symbol)
        return [one for one in self._wide.values() if resumed is None or one.at >= resumed]
