"""Names the first field in which a decision taken again is not the one that is journalled."""

from collections.abc import Sequence
from typing import Any

import msgspec

from runtime.domain import Order
from runtime.journal import wire
from runtime.journal.records import DecisionRecord

_SHOWN = 160  # characters of a value
_NAMED = ("symbol", "check", "order_id")  # what tells one item of a list from the others


def first_difference(was: bytes, now: bytes) -> tuple[str, str, str] | None:
    """Return (field, as journalled, as decided again) of two payloads; None if they are equal."""
    if was == now:
        return None
    try:
        old, new = msgspec.json.decode(was), msgspec.json.decode(now)
    except msgspec.DecodeError as error:
        return "entry", f"cannot be read: {error}", _words(now.decode())
    found = _first("", old, new)
    return found or ("entry", f"{len(was)} bytes", f"{len(now)} other bytes of the same content")


def payload_of(record: DecisionRecord, account: str, orders: Sequence[Order], scene: str) -> bytes:
    """Return the bytes that would be journalled, told what the scene of that name tells."""
    return wire.encode_decision(record, account, tuple(orders), scene=scene)


def _first(name: str, was: Any, now: Any) -> tuple[str, str, str] | None:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*was, *now)):
            place = f"{name}.{key}" if name else key
            if key not in was or key not in now:
                return place, _words(was.get(key, "nothing")), _words(now.get(key, "nothing"))
            found = _first(place, was[key], now[key])
            if found:
                return found
        return None
    if isinstance(was, list) and isinstance(now, list):
        for number, (left, right) in enumerate(zip(was, now, strict=False)):
            found = _first(f"{name}[{_called(left, number)}]", left, right)
            if found:
                return found
        if len(was) != len(now):
            return name, f"{len(was)} of them", f"{len(now)}"
        return None
    if type(was) is type(now) and was == now:
        return None
    return name, _words(was), _words(now)


def _called(item: Any, number: int) -> str:
    """Return what an item of a list is called: by its symbol or check, else by its place."""
    if isinstance(item, dict):
        inner = item.get("order")
        for one in (item, inner if isinstance(inner, dict) else {}):
            for key in _NAMED:
                if one.get(key):
                    return str(one[key])
    return str(number)


def _words(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
