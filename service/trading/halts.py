"""Where a workspace keeps the halts that it was told of, and how its desk and venues see them."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import msgspec

from runtime.market.halts import EVERYTHING
from runtime.market.rules import market_rules
from runtime.market.states import Published
from runtime.market.told import ToldHalts
from service.settings import Settings

Seen: TypeAlias = Callable[[datetime], Mapping[str, Published]]


def told_halts(settings: Settings) -> ToldHalts:
    """Return the workspace's halts; the file need not be there."""
    return ToldHalts(_file(settings), market_rules().halt[-1])


class _Universe(msgspec.Struct, frozen=True):
    """The part of a manifest that names what a bundle trades."""

    symbols: tuple[str, ...]


def doubt(settings: Settings, symbol: str) -> str | None:
    """Return in words that no bundle of the workspace trades a symbol; None if one does.

    A halt of it is kept all the same: it may be held, or be traded from elsewhere. Manifests are
    read unproved, as nothing is decided by them here.
    """
    traded: set[str] = set()
    for path in settings.bundles.glob("*/manifest.json"):
        try:
            traded.update(msgspec.json.decode(path.read_bytes(), type=_Universe).symbols)
        except (OSError, msgspec.DecodeError):
            continue  # whoever trades it will refuse it
    if symbol == EVERYTHING or symbol in traded or not traded:
        return None
    alike = sorted(one for one in traded if one.casefold() == symbol.casefold())
    hint = f"; did you mean {', '.join(alike)}?" if alike else ""
    return f"no bundle here trades {symbol}{hint}"


def _file(settings: Settings) -> Path:
    return settings.workspace / "halts.jsonl"


def market_of(settings: Settings, symbols: Callable[[], Iterable[str]]) -> Seen | None:
    """Return the published market of some symbols, None if no halt was ever told.

    Args:
        settings: where the file lies.
        symbols: asked each time: the universe, and what is held beside it.
    """
    if not _file(settings).exists():
        return None
    halts = told_halts(settings)
    return lambda at: halts.published(tuple(dict.fromkeys(symbols())), at)


def halted_of(settings: Settings, symbols: Callable[[], Iterable[str]]) -> Seen | None:
    """Return the halted ones of some symbols, as a venue asks; None if no halt was ever told.

    Args:
        settings: where the file lies.
        symbols: asked once per instant: all in which something may work.
    """
    if not _file(settings).exists():
        return None
    halts, names = told_halts(settings), dict[datetime, tuple[str, ...]]()

    def seen(at: datetime) -> Mapping[str, Published]:
        if at not in names:
            names.clear()
            names[at] = tuple(dict.fromkeys(symbols()))
        return halts.halted(names[at], at)

    return seen
