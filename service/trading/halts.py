"""Where a workspace keeps the halts that it was told of, and how its desk and venues see them."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from runtime.market.rules import market_rules
from runtime.market.states import Published
from runtime.market.told import ToldHalts
from service.settings import Settings

Seen: TypeAlias = Callable[[datetime], Mapping[str, Published]]


def told_halts(settings: Settings) -> ToldHalts:
    """Return the workspace's halts; the file need not be there."""
    return ToldHalts(_file(settings), market_rules().halt[-1])


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
