"""What another policy would change, limit by limit, and whether it lets more through."""

from decimal import Decimal
from typing import Any, Literal

import msgspec

from runtime.policies.policy import Policy

Effect = Literal["looser", "tighter", "other"]

# A lower figure of these lets more through; of every other number a higher one does.
_LOWER_IS_LOOSER = ("min_", "lot", "cooldown_")
_TRUE_IS_TIGHTER = ("volume_required",)
_LESS_IS_LOOSER = ("restricted",)


class LimitChange(msgspec.Struct, frozen=True, kw_only=True):
    """One limit that differs."""

    limit: str  # "loss.max_daily_loss"
    before: str | None  # None = was left out, which blocks
    after: str | None
    effect: Effect


def diff(old: Policy, new: Policy) -> tuple[LimitChange, ...]:
    """Return every limit that differs, in the order of the checks.

    A limit that is left out blocks: leaving one out is tighter, setting it is looser.
    """
    changes = []
    for section in Policy.__struct_fields__:
        before, after = getattr(old, section), getattr(new, section)
        if section == "name":
            if before != after:
                changes.append(
                    LimitChange(limit="name", before=before, after=after, effect="other")
                )
            continue
        for name in before.__struct_fields__:
            left, right = getattr(before, name), getattr(after, name)
            if left != right:
                changes.append(
                    LimitChange(
                        limit=f"{section}.{name}",
                        before=_text(left),
                        after=_text(right),
                        effect=_effect(name, left, right),
                    )
                )
    return tuple(changes)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, tuple):
        return ", ".join(value) or "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _effect(name: str, left: Any, right: Any) -> Effect:
    if left is None or right is None:
        return "looser" if left is None else "tighter"
    if isinstance(left, bool):
        return "looser" if right is not name.startswith(_TRUE_IS_TIGHTER) else "tighter"
    if isinstance(left, tuple):
        more, fewer = set(right) > set(left), set(right) < set(left)
        if name.startswith(_LESS_IS_LOOSER):
            more, fewer = fewer, more
        return "looser" if more else "tighter" if fewer else "other"
    higher = Decimal(right) > Decimal(left)
    return "looser" if higher is not name.startswith(_LOWER_IS_LOOSER) else "tighter"
