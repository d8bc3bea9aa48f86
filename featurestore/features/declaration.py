"""What a computed feature is: a named formula over fixed-length windows of declared sources.

A feature's name is its whole declaration, for instance

    momentum(us_equities.close, lookback=252, skip=21)
    exposure(us_equities.close, us_index.close[SP500], wti.price[WTI], bars=252, lag=8)
    rank(volatility(us_equities.close, bars=63, per_year=252))

so that a view.field and a computed feature can stand in the same places.
"""

import ast
import hashlib
import inspect
import json
import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featurestore.errors import ContractBroken, ViewUnknown
from featurestore.views import split_feature

Array: TypeAlias = NDArray[np.float64]
Micros: TypeAlias = NDArray[np.int64]  # microseconds since 1970, UTC
Number: TypeAlias = int | float
Reads = Literal["now", "release"]

_ENTITY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """What a formula sees: one array per input, oldest bar first, evaluated row by row."""

    # Each (D, n, L), C-contiguous; D instants, n symbols, L bars. One that names its entity is
    # (D, 1, L): the same for every symbol.
    values: tuple[Array, ...]
    closes: Micros  # (D, L), what each bar is about, microseconds since 1970 UTC


Formula: TypeAlias = Callable[..., Array]


@dataclass(frozen=True, slots=True)
class Source:
    """One input that the lake holds."""

    feature: str  # "view.field"
    entity: str | None = None  # this one for every symbol, e.g. an index; None = the symbol itself
    actions: str | None = None  # view of corporate actions that adjust it by knowledge time

    def __post_init__(self) -> None:
        split_feature(self.feature)
        if self.entity is not None and not _ENTITY.fullmatch(self.entity):
            raise ContractBroken(
                f"{self.feature}: entity {self.entity!r} must be letters, digits and underscores"
            )

    @property
    def view(self) -> str:
        """Return the view's name."""
        return split_feature(self.feature)[0]

    @property
    def field(self) -> str:
        """Return the field's name."""
        return split_feature(self.feature)[1]

    @property
    def name(self) -> str:
        """Return it as written: view.field, view.field[ENTITY] or view.field@actions."""
        entity = "" if self.entity is None else f"[{self.entity}]"
        actions = "" if self.actions is None else f"@{self.actions}"
        return self.feature + entity + actions

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A formula with its parameters and inputs; pure data, equal features have equal names."""

    kind: "Kind"
    inputs: tuple["Source | Feature", ...]
    parameters: tuple[tuple[str, Number], ...]  # every one, in the order of the formula

    @property
    def name(self) -> str:
        """Return the whole declaration in one line; `parse_feature` reads it back."""
        words = [each.name for each in self.inputs]
        words += [f"{key}={value!r}" for key, value in self.parameters]
        return f"{self.kind.name}({', '.join(words)})"

    def __str__(self) -> str:
        return self.name

    @property
    def given(self) -> dict[str, Number]:
        """Return the parameters by name."""
        return dict(self.parameters)

    @property
    def length(self) -> int:
        """Return the bars of each input that one value is a function of."""
        return self.kind.length(self.given)

    @property
    def lag(self) -> int:
        """Return the newest bars that are left out."""
        return int(self.given.get("lag", 0))

    @property
    def required(self) -> int:
        """Return the bars of history one value needs, inner features included."""
        inner = [each.required for each in self.inputs if isinstance(each, Feature)]
        return self.length + self.lag + max([*inner, 1]) - 1

    @property
    def unit(self) -> str:
        """Return the unit of its values."""
        return self.kind.unit

    @property
    def sources(self) -> tuple[Source, ...]:
        """Return everything of the lake it reads, without repeats, in order of first mention."""
        found: dict[Source, None] = {}
        for each in self.inputs:
            found.update(dict.fromkeys(each.sources if isinstance(each, Feature) else (each,)))
        return tuple(found)

    def declaration(self) -> dict[str, object]:
        """Return the feature as plain data."""
        return {
            "name": self.name,
            "kind": self.kind.name,
            "edition": self.kind.edition,
            "inputs": [
                each.declaration() if isinstance(each, Feature) else each.name
                for each in self.inputs
            ],
            "parameters": self.given,
            "length": self.length,
            "lag": self.lag,
            "required": self.required,
            "reads": self.kind.reads,
            "unit": self.unit,
        }

    @property
    def version_hash(self) -> str:
        """Return the SHA-256 of declaration, window lengths and edition of the formulas, hex."""
        text = json.dumps(self.declaration(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """One formula of the library; calling it with inputs and parameters declares a feature."""

    name: str
    inputs: tuple[str, ...]  # what each input means, e.g. ("prices", "index")
    defaults: Mapping[str, Number]
    least: Mapping[str, Number]  # smallest value of a parameter
    length: Callable[[Mapping[str, Number]], int]  # parameters -> bars
    unit: str
    edition: int  # raised whenever the formula's bits change
    reads: Reads  # "release": windows as known when the newest bar was first printed
    crosses: bool  # whether a value depends on the other symbols asked for
    formula: Formula = field(repr=False)

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        """Return the formula's text."""
        return inspect.getdoc(self.formula) or ""

    @property
    def __signature__(self) -> inspect.Signature:
        """Show inputs and parameters with their defaults to who asks for help."""
        kinds = inspect.Parameter
        inputs = [kinds(name, kinds.POSITIONAL_ONLY) for name in self.inputs]
        options = [
            kinds(name, kinds.KEYWORD_ONLY, default=value) for name, value in self.defaults.items()
        ]
        return inspect.Signature([*inputs, *options])

    def told(self, heading: str) -> str:
        """Return one section of the text: "Formula" or "Source"."""
        found = re.search(rf"^{heading}: (.*?)(?=\n\S|\n\n|\Z)", self.__doc__, re.DOTALL | re.M)
        return " ".join(found.group(1).split()) if found else ""

    def __call__(self, *inputs: "str | Source | Feature", **parameters: Number) -> Feature:
        """Declare a feature.

        Args:
            inputs: one per name in `inputs`: "view.field", "view.field[ENTITY]", another feature.
            parameters: those in `defaults`, by name.

        Raises:
            ContractBroken: another number of inputs, an unknown parameter, or one too small.
        """
        if len(inputs) != len(self.inputs):
            raise ContractBroken(
                f"{self.name} takes {len(self.inputs)} input(s) ({', '.join(self.inputs)}), "
                f"was given {len(inputs)}"
            )
        for name, value in parameters.items():
            self._check(name, value)
        return Feature(
            kind=self,
            inputs=tuple(parsed(i) if isinstance(i, str) else i for i in inputs),
            parameters=tuple({**self.defaults, **parameters}.items()),
        )

    def _check(self, name: str, value: Number) -> None:
        if name not in self.defaults:
            raise ContractBroken(
                f"{self.name} has no parameter {name!r}; "
                f"it has: {', '.join(self.defaults) or 'none'}"
            )
        whole = isinstance(self.defaults[name], int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise ContractBroken(
                f"{self.name}: {name} must be a {'whole ' if whole else ''}number, was {value!r}"
            )
        if not value >= self.least.get(name, 0):
            raise ContractBroken(
                f"{self.name}: {name} must be at least {self.least.get(name, 0)}, was {value}"
            )


LIBRARY: dict[str, Kind] = {}


def feature(
    *inputs: str,
    bars: int | Callable[..., int],
    unit: str,
    edition: int = 1,
    reads: Reads = "now",
    crosses: bool = False,
    least: Mapping[str, Number] | None = None,
) -> Callable[[Formula], Kind]:
    """Enter a formula into the library under its own name.

    Args:
        inputs: what each input means.
        bars: window length, as a number or from the formula's parameters.
        unit: of the value.
        edition: raise it whenever the formula's bits change.
        reads: "release" reads windows as known at the first print of their newest bar.
        crosses: whether a value depends on the other symbols asked for.
        least: smallest value per parameter; 1 if not named, 0 for lag and skip.
    """

    def enter(formula: Formula) -> Kind:
        options = list(inspect.signature(formula).parameters.values())[1:]
        defaults: dict[str, Number] = {option.name: option.default for option in options}
        lowest = {name: 0 if name in ("lag", "skip") else 1 for name in defaults}

        def length(parameters: Mapping[str, Number]) -> int:
            if not callable(bars):
                return bars
            wanted = inspect.signature(bars).parameters
            return bars(**{name: parameters[name] for name in wanted})

        kind = Kind(
            name=formula.__name__,
            inputs=inputs,
            defaults=defaults,
            least=lowest | dict(least or {}),
            length=length,
            unit=unit,
            edition=edition,
            reads=reads,
            crosses=crosses,
            formula=formula,
        )
        if kind.name in LIBRARY:
            raise ContractBroken(f"the library has a formula {kind.name} already; choose a name")
        LIBRARY[kind.name] = kind
        return kind

    return enter


FORM = (
    "write view.field, view.field[ENTITY], view.field@actions, or "
    "formula(input, ..., parameter=number)"
)


# A field may be called yield or return: such words are marked while the grammar looks at them.
_KEYWORDS = re.compile(rf"\b({'|'.join(keyword.kwlist)})\b")
_MARK = "__word"


@lru_cache(maxsize=4096)
def parsed(text: str) -> Source | Feature:
    """Read a source or a feature from its name; parsed by the grammar of Python, never evaluated.

    Raises:
        ViewUnknown: no such formula, or not a name of that form.
        ContractBroken: the formula refuses its inputs or parameters.
    """
    try:
        return _node(ast.parse(_KEYWORDS.sub(r"\1" + _MARK, text.strip()), mode="eval").body, text)
    except (SyntaxError, ValueError) as fault:
        raise ViewUnknown(f"feature {text!r} cannot be read; {FORM}") from fault


def _node(node: ast.expr, text: str) -> Source | Feature:
    match node:
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            if name not in LIBRARY:
                raise ViewUnknown(
                    f"no formula {name!r} in {text!r}; there are: {', '.join(sorted(LIBRARY))}"
                )
            inputs = [_node(each, text) for each in args]
            return LIBRARY[name](
                *inputs, **{_key(k, text): _number(k.value, text) for k in keywords}
            )
        case ast.BinOp(left=left, op=ast.MatMult(), right=ast.Name(id=view)):
            inner = _node(left, text)
            if isinstance(inner, Feature) or inner.actions is not None:
                raise ContractBroken(f"{text!r}: only prices of a view can be adjusted; {FORM}")
            return Source(inner.feature, inner.entity, view.removesuffix(_MARK))
        case ast.Subscript(value=ast.Attribute() as column, slice=ast.Name(id=entity)):
            inner = _node(column, text)
            assert isinstance(inner, Source)
            return Source(inner.feature, entity.removesuffix(_MARK))
        case ast.Attribute(value=ast.Name(id=view), attr=name):
            return Source(f"{view.removesuffix(_MARK)}.{name.removesuffix(_MARK)}")
    raise ViewUnknown(f"feature {text!r} cannot be read at {ast.unparse(node)!r}; {FORM}")


def _key(keyword: ast.keyword, text: str) -> str:
    if keyword.arg is None:
        raise ViewUnknown(f"feature {text!r}: every parameter has a name; {FORM}")
    return keyword.arg


def _number(node: ast.expr, text: str) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    raise ViewUnknown(f"feature {text!r}: {ast.unparse(node)!r} is not a number; {FORM}")
