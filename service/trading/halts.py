"""Where a workspace keeps the halts that it was told of, and how its desk and venues see them."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import msgspec

from runtime.decoding import from_json
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
            traded.update(from_json(path.read_bytes(), _Universe).symbols)
        except (OSError, msgspec.DecodeError):
            continue  # whoever trades it will refuse it
    if symbol == EVERYTHING or symbol in traded or not traded:
        return None
    alike = sorted(one for one in traded if one.casefold() == symbol.casefold())
    hint = f"; did you mean {', '.join(alike)}?" if alike else ""
    return f"no bundle here trades {symbol}{hint}"


def _file(settings: Settings) -> Path:
    return settings.workspace / "halts.jsonl"


def halted_of(settings: Settings, symbols: Callable[[], Iterable[str]]) -> Seen:
    """Return what says which of some symbols are halted at an instant, as desk and venues ask.

    Args:
        settings: where the file lies.
        symbols: asked once per instant: all in which something may work.
    """
    halts, answers = told_halts(settings), dict[datetime, Mapping[str, Published]]()

    def seen(at: datetime) -> Mapping[str, Published]:
        if at not in answers:
            names = tuple(dict.fromkeys(symbols())) if halts.messages() else ()
            found = halts.halted(names, at)
            answers.clear()
            answers[at] = found
        return answers[at]

    return seen
