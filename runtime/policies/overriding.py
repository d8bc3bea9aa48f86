"""One limit changed for a while, and the policy that comes of it."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from runtime.errors import PolicyInvalid
from runtime.policies.policy import Policy, policy_of


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """One limit changed for a while, once a second person has approved."""

    id: str
    limit: str  # "loss.max_daily_loss"
    value: str  # as it would stand in the file
    by: str
    why: str
    at: datetime  # UTC, asked for
    ends: datetime  # UTC
    approved_by: str = ""
    approved_at: datetime | None = None
    revoked_by: str = ""
    revoked_at: datetime | None = None

    def in_force(self, at: datetime) -> bool:
        """Say whether it changes the policy at an instant."""
        if self.approved_at is None or not self.approved_at <= at < self.ends:
            return False
        return self.revoked_at is None or at < self.revoked_at


def overridden(policy: Policy, overrides: list[Override]) -> Policy:
    """Return the policy with some limits changed; its name tells by which overrides.

    Raises:
        PolicyInvalid: a value cannot be that limit.
    """
    raw: dict[str, Any] = msgspec.to_builtins(policy, builtin_types=(Decimal,))
    for one in overrides:
        section, _, name = one.limit.partition(".")
        kind = type(raw[section][name])
        raw[section][name] = _value(one, kind)
    raw["name"] = f"{policy.name}, overridden by {', '.join(one.id for one in overrides)}"
    kept = {key: _without_none(value) for key, value in raw.items()}
    return policy_of(kept, "override")


def _value(one: Override, kind: type) -> int | Decimal:
    try:
        number = Decimal(one.value)
    except ArithmeticError:
        raise PolicyInvalid(f"override: {one.limit} cannot be {one.value!r}") from None
    if kind is not Decimal and number == number.to_integral_value():
        return int(number)
    return number


def _without_none(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if item is not None}
