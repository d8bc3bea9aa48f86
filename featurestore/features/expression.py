"""Feature names read back into declarations; parsed, never evaluated."""

import ast
import keyword
import re
from functools import lru_cache

from featurestore.errors import ContractBroken, ViewUnknown
from featurestore.features.declaration import LIBRARY, Feature, Number, Source
from featurestore.views import is_plain

_FORM = (
    "write view.field, view.field[ENTITY], view.field@actions, or "
    "formula(input, ..., parameter=number)"
)


# A field may be called yield or return: such words are marked while the grammar looks at them.
_KEYWORDS = re.compile(rf"\b({'|'.join(keyword.kwlist)})\b")
_MARK = "__word"


def parse_input(text: str) -> Source | Feature:
    """Read a source or a feature from its name.

    Raises:
        ViewUnknown: no such formula, or not a name of that form.
        ContractBroken: the formula refuses its inputs or parameters.
    """
    return _parsed(text)


def parse_feature(text: str) -> Feature:
    """Read a computed feature from its name; ViewUnknown if it is a plain source."""
    found = _parsed(text)
    if isinstance(found, Source):
        raise ViewUnknown(f"{text!r} is a source, not a computed feature; {_FORM}")
    return found


def sources_of(text: str) -> tuple[Source, ...]:
    """Return everything of the lake that a name reads: itself, or the sources of its formula."""
    found = Source(text) if is_plain(text) else _parsed(text)
    return (found,) if isinstance(found, Source) else found.sources


def bars_of(text: str, length: int = 1) -> int:
    """Return the bars of history that a window of `length` of a source or feature needs."""
    found = None if is_plain(text) else _parsed(text)
    return found.required + length - 1 if isinstance(found, Feature) else length


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Source | Feature:
    import featurestore.features.library  # noqa: F401  enters every formula

    try:
        return _node(ast.parse(_KEYWORDS.sub(r"\1" + _MARK, text.strip()), mode="eval").body, text)
    except (SyntaxError, ValueError) as fault:
        raise ViewUnknown(f"feature {text!r} cannot be read; {_FORM}") from fault


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
                raise ContractBroken(f"{text!r}: only prices of a view can be adjusted; {_FORM}")
            return Source(inner.feature, inner.entity, view.removesuffix(_MARK))
        case ast.Subscript(value=ast.Attribute() as column, slice=ast.Name(id=entity)):
            inner = _node(column, text)
            assert isinstance(inner, Source)
            return Source(inner.feature, entity.removesuffix(_MARK))
        case ast.Attribute(value=ast.Name(id=view), attr=name):
            return Source(f"{view.removesuffix(_MARK)}.{name.removesuffix(_MARK)}")
    raise ViewUnknown(f"feature {text!r} cannot be read at {ast.unparse(node)!r}; {_FORM}")


def _key(keyword: ast.keyword, text: str) -> str:
    if keyword.arg is None:
        raise ViewUnknown(f"feature {text!r}: every parameter has a name; {_FORM}")
    return keyword.arg


def _number(node: ast.expr, text: str) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    raise ViewUnknown(f"feature {text!r}: {ast.unparse(node)!r} is not a number; {_FORM}")
