"""A study: one research question, written down before its first trial is run."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

import msgspec

from pipelines.errors import StudyInvalid
from runtime.bundles.contract import SizingPolicy
from runtime.execution.style import AT_MARKET, Execution

Parameter: TypeAlias = int | float | str | bool

EQUAL_WEIGHTED_UNIVERSE = "equal_weighted_universe"

_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A span of session days, both ends included."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise StudyInvalid(f"a period must end after it starts, was {self.start} to {self.end}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The declaration of a research question; whoever changes it asks another question.

    All trials of a study share their decision dates: the first one is the first date of the
    schedule inside the research window, and `warm_up` bars must be known by then.
    """

    name: str  # lower case, the key of the study in the ledger
    question: str
    hypothesis: str
    source: str  # the paper the search space comes from
    universe: str  # name of a universe of the feature store
    research: Period  # what trials may read
    holdout: Period  # sealed until promotion, which spends it once
    schedule: str  # "month_end", "week_end" or "daily"
    search_space: Mapping[str, Sequence[Parameter]]  # parameter -> every value it may take
    owner: str
    warm_up: int  # bars; the longest history any configuration asks for
    benchmark: str = EQUAL_WEIGHTED_UNIVERSE
    costs: float = 0.0005  # fraction of traded notional, all in
    invested: float = 0.98  # fraction of equity that target weights are scaled by
    price_feature: str = "us_equities.close"  # "view.field" that fills and marks are made on
    calendar: str = "XNYS"
    execution: Execution = AT_MARKET  # how the orders of its bundle are executed

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise StudyInvalid(f"study name {self.name!r}: use a-z, 0-9 and underscores")
        if self.research.end >= self.holdout.start:
            raise StudyInvalid(
                f"study {self.name}: the research window ends {self.research.end}, on or after the "
                f"holdout's first day {self.holdout.start}; leave the holdout alone"
            )
        if self.benchmark != EQUAL_WEIGHTED_UNIVERSE:
            raise StudyInvalid(
                f"study {self.name}: benchmark {self.benchmark!r} is unknown; "
                f"the one there is: {EQUAL_WEIGHTED_UNIVERSE}"
            )
        if self.warm_up < 1:
            raise StudyInvalid(f"study {self.name}: warm_up must be >= 1 bar, was {self.warm_up}")
        if not 0.0 <= self.costs < 1.0:
            raise StudyInvalid(f"study {self.name}: costs must be in [0, 1), were {self.costs}")
        if not 0.0 < self.invested <= 1.0:
            raise StudyInvalid(
                f"study {self.name}: invested must be in (0, 1], not {self.invested}"
            )
        for parameter, values in self.search_space.items():
            _check_values(self.name, parameter, values)

    @property
    def sizing(self) -> SizingPolicy:
        """Return the sizing policy that backtest and runtime share."""
        said = msgspec.UNSET if self.execution == AT_MARKET else self.execution
        return SizingPolicy(invested=self.invested, cost_rate=self.costs, execution=said)

    def configurations(self) -> tuple[dict[str, Parameter], ...]:
        """Return every point of the search space, in declared order."""
        names = tuple(self.search_space)
        grid = itertools.product(*self.search_space.values())
        return tuple(dict(zip(names, point, strict=True)) for point in grid)

    def check(self, parameters: Mapping[str, Parameter]) -> None:
        """Raise StudyInvalid unless the parameters are one point of the search space."""
        if set(parameters) != set(self.search_space):
            raise StudyInvalid(
                f"study {self.name}: a trial sets {sorted(self.search_space)}, "
                f"was given {sorted(parameters)}"
            )
        for name, value in parameters.items():
            allowed = self.search_space[name]
            if not any(type(value) is type(choice) and value == choice for choice in allowed):
                raise StudyInvalid(
                    f"study {self.name}: {name}={value!r} is not in the declared search space "
                    f"{list(allowed)}; a wider space is a new study, declared beforehand"
                )

    def declaration(self) -> dict[str, object]:
        """Return the study as plain JSON values: what the ledger writes down."""
        said = msgspec.to_builtins(self.execution)
        return {
            "name": self.name,
            "question": self.question,
            "hypothesis": self.hypothesis,
            "source": self.source,
            "universe": self.universe,
            "benchmark": self.benchmark,
            "costs": self.costs,
            "invested": self.invested,
            "research": [self.research.start.isoformat(), self.research.end.isoformat()],
            "holdout": [self.holdout.start.isoformat(), self.holdout.end.isoformat()],
            "schedule": self.schedule,
            "search_space": {name: list(values) for name, values in self.search_space.items()},
            "warm_up": self.warm_up,
            "owner": self.owner,
            "price_feature": self.price_feature,
            "calendar": self.calendar,
            **({"execution": said} if said else {}),  # what nobody says is not written down
        }


def _check_values(study: str, parameter: str, values: Sequence[Parameter]) -> None:
    """Refuse an empty, repeated or mixed list of values."""
    if not parameter.isidentifier():
        raise StudyInvalid(f"study {study}: {parameter!r} is not a parameter name")
    if not values:
        raise StudyInvalid(f"study {study}: the search space of {parameter} is empty")
    if len({type(value) for value in values}) > 1 or len(set(values)) < len(values):
        raise StudyInvalid(
            f"study {study}: values of {parameter} must be distinct and of one type, "
            f"were {list(values)}"
        )
