"""Universes: which symbols a study looks at, and what is wrong with the list."""

from dataclasses import dataclass

from featurestore.errors import ViewUnknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    """A named list of symbols; the order is the row order of every array."""

    name: str
    symbols: tuple[str, ...]
    survivors: bool  # True: chosen with hindsight, delisted names are missing
    note: str  # a sentence that every card and report repeats


US_LARGE_CAPS = Universe(
    name="us_large_caps",
    symbols=(
        "AAPL", "AMD", "BAC", "BBY", "CVX", "GE", "HD", "JNJ", "JPM", "KO",
        "LLY", "MRK", "MSFT", "PEP", "PFE", "PG", "RRC", "UNH", "WMT", "XOM",
    ),
    survivors=True,
    note=(
        "Survivors: these 20 companies were chosen in 2022 among those that lived through "
        "1990-2022, so any long portfolio of them looks good. Judge returns in excess of the "
        "equal-weighted universe, never against cash."
    ),
)  # fmt: skip

_UNIVERSES = {each.name: each for each in (US_LARGE_CAPS,)}


def universe(name: str) -> Universe:
    """Return a universe by name; ViewUnknown lists what exists."""
    if name not in _UNIVERSES:
        raise ViewUnknown(f"no universe {name!r}; there are: {', '.join(sorted(_UNIVERSES))}")
    return _UNIVERSES[name]
