"""Closes of one tick: exact decimals by symbol, and what is made of all of them at once.

A tick values hundreds of symbols several times over. Turning a decimal into a whole number of 1e-6
or into a float costs more than what is then done with it, so all of them are turned once.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from runtime.bundles.inputs import Array
from runtime.domain import Bar
from runtime.errors import OrderInvalid
from runtime.journal.exact import LARGEST, PLACES, UNIT, mark_units

_UNIT = Decimal(1).scaleb(-PLACES)
_SAFE = 1 << 53  # whole numbers below it are floats


class Marks(dict[str, Decimal]):
    """Closes by symbol, USD per unit; made once from bars and never changed."""

    __slots__ = ("_floats", "_places", "_symbols", "_units")

    def __init__(self, bars: Sequence[Bar]) -> None:
        """Take the close of every bar; of a symbol that comes twice the last one."""
        super().__init__([(bar.symbol, bar.close) for bar in bars])
        self._symbols: tuple[str, ...] = tuple(self)
        self._units: dict[str, int] | None = None
        self._floats: Array | None = None
        self._places: dict[str, int] | None = None

    @property
    def units(self) -> Mapping[str, int]:
        """Return whole numbers of 1e-6 USD; a close that is no such number is left out."""
        if self._units is None:
            counts = _counts(list(self.values()))
            if counts is None:
                self._units = _one_by_one(self)
            else:
                self._units = dict(zip(self._symbols, counts, strict=True))
        return self._units

    def floats(self, symbols: Sequence[str]) -> Array:
        """Return the floats nearest to closes, shape (n,); KeyError if one is missing."""
        if self._floats is None:
            self._floats = self._as_floats()
            self._floats.flags.writeable = False
        n = len(symbols)
        if self._symbols[:n] == tuple(symbols):  # bars come in the order of the universe
            return self._floats[:n]
        if self._places is None:
            self._places = {symbol: place for place, symbol in enumerate(self._symbols)}
        places = self._places
        return self._floats[[places[symbol] for symbol in symbols]]

    def _as_floats(self) -> Array:
        import numpy as np

        counts = list(self.units.values())
        if len(counts) == len(self) and max(counts, default=0) < _SAFE:
            # Both are exact, and a quotient of floats is the float nearest to the true one.
            return np.array(counts, dtype=np.float64) / UNIT
        return np.array([float(close) for close in self.values()], dtype=np.float64)


def floats_of(marks: Mapping[str, Decimal], symbols: Sequence[str]) -> Array:
    """Return the floats nearest to prices, shape (n,), in the order of `symbols`."""
    if isinstance(marks, Marks):
        return marks.floats(symbols)
    import numpy as np

    return np.array([float(marks[symbol]) for symbol in symbols], dtype=np.float64)


def _counts(closes: Sequence[Decimal]) -> list[int] | None:
    """Return prices as whole numbers of 1e-6, None unless all of them plainly are."""
    try:
        rests = [close % _UNIT for close in closes]
        if any(rests):
            return None
        counts = [int(close * UNIT) for close in closes]
    except (InvalidOperation, AttributeError, TypeError):  # an infinity, or no decimal
        return None
    if not counts or (min(counts) > 0 and max(counts) < 10 ** (LARGEST + PLACES)):
        return counts
    return None


def _one_by_one(marks: Mapping[str, Decimal]) -> dict[str, int]:
    found = {}
    for symbol, close in marks.items():
        try:
            found[symbol] = mark_units(close, symbol)
        except OrderInvalid:
            continue
    return found
