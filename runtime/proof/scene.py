"""The scene of one decision: every answer from outside that its tick was given.

Arrays are not in it: what the graphs read stands in the decision's inputs, and a policy's limits
under the hash that the decision names. Holdings, orders and closes are not in it either: they are
folded from the journal. All three stand in the journal's blobs, named by their SHA-256.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from operator import attrgetter

import msgspec

from featurestore.calendars import Session
from featurestore.errors import PlatformError
from runtime.bundles.contract import Stage
from runtime.decoding import from_json
from runtime.domain import Bar, Quote
from runtime.errors import JournalBroken, RuntimeFault
from runtime.market.states import Published

Question = tuple[str, int, int]  # feature, place of its symbols in `groups`, length
_TIMES = attrgetter("event_time", "known_at")


class SeenBars(msgspec.Struct, frozen=True, kw_only=True):
    """Bars that came in a row and share their times."""

    event_time: datetime  # UTC
    known_at: datetime  # UTC
    symbols: tuple[str, ...]
    closes: tuple[Decimal, ...]  # USD per unit


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A question that was answered by an error."""

    text: str
    fault: bool  # a `RuntimeFault`; otherwise one of another floor


class Scene(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked of the outside while one decision was taken, and what it answered."""

    day: date
    open: datetime  # UTC
    close: datetime  # UTC
    caller: str
    stages: tuple[Stage, ...]  # of the bundle, or of each member in the order of `roles`
    venues: tuple[str, ...]
    simulated: bool
    freshness: dict[str, timedelta]  # view -> age allowed
    bars: tuple[SeenBars, ...]
    roles: tuple[str, ...] = ()  # of the members, as they stood at the desk
    urgent: tuple[str, ...] = ()  # roles that decide whatever their schedule
    killed: tuple[
        dict[str, str], ...
    ] = ()  # scope -> reason, each time the switch was read; {} where it failed
    approved: tuple[str | None, ...] = ()  # each time the registry was asked; None where it failed
    breaks: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()  # symbols, in alphabetical order
    market: dict[str, Published] | None = None  # of the bars' symbols; None = told from the bars
    halts: dict[str, Published] = {}  # told of the bars' symbols, on top of `market`
    quotes: tuple[Quote, ...] = ()  # in the order they were asked for
    groups: tuple[tuple[str, ...], ...] = ()  # symbols that features were asked of
    ages: tuple[tuple[str, int, datetime], ...] = ()  # feature, group, oldest knowledge time
    volume: str = ""  # "view.field" that volumes were asked of
    failed: dict[str, Failed] = {}  # question -> the error that answered it
    reads: tuple[Question, ...] = ()  # what was read and is not in the decision's inputs
    arrays: str = ""  # name of the blob that holds those, "0", "1", ... in the order of `reads`


def encode(scene: Scene) -> bytes:
    """Return the one encoding of a scene."""
    return msgspec.json.encode(scene, order="deterministic")


def decode(data: bytes) -> Scene:
    """Return what `encode` wrote; JournalBroken if it cannot be read."""
    try:
        return from_json(data, Scene)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalBroken(f"the scene of a decision cannot be read: {error}") from error


def in_runs(bars: Sequence[Bar]) -> Iterator[SeenBars]:
    """Yield bars as runs of equal times, in their order."""
    for (event_time, known_at), run in groupby(bars, _TIMES):
        named = [(bar.symbol, bar.close) for bar in run]
        symbols, closes = zip(*named, strict=True)
        yield SeenBars(event_time=event_time, known_at=known_at, symbols=symbols, closes=closes)


def bars_of(scene: Scene) -> list[Bar]:
    """Return the bars as they came."""
    return [
        Bar(symbol=symbol, close=close, event_time=run.event_time, known_at=run.known_at)
        for run in scene.bars
        for symbol, close in zip(run.symbols, run.closes, strict=True)
    ]


def session_of(scene: Scene) -> Session:
    """Return the session that was decided in."""
    return Session(day=scene.day, open=scene.open, close=scene.close)


def failure(error: PlatformError) -> Failed:
    """Return an error as it is kept."""
    return Failed(text=str(error), fault=isinstance(error, RuntimeFault))


def fail_again(failed: Mapping[str, Failed], question: str) -> None:
    """Raise what a question was answered by, if that was an error."""
    kept = failed.get(question)
    if kept is not None:
        raise (RuntimeFault if kept.fault else PlatformError)(kept.text)


def window_question(feature: str, group: int, length: int) -> str:
    """Return how a window that failed is called."""
    return f"window {feature} {group} {length}"


def latest_question(feature: str, group: int) -> str:
    """Return how newest values that failed are called."""
    return f"latest {feature} {group}"


def quote_question(venue: str, symbol: str) -> str:
    """Return how a quote that failed is called."""
    return f"quote {venue} {symbol}"


def kill_question(number: int) -> str:
    """Return how a reading of the kill switch that failed is called, counted from 1."""
    return f"kill {number}"


def approved_question(number: int) -> str:
    """Return how a question to the registry that failed is called, counted from 1."""
    return f"approved {number}"


POLICY_QUESTION = "policy"
MARKET_QUESTION = "market"
HALTS_QUESTION = "halts"
