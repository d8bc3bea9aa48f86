"""What Vault grants for a while: when it is renewed, when it is over."""

from dataclasses import dataclass
from datetime import datetime, timedelta

RENEW_AT = 2 / 3  # of what was granted
SPREAD = 0.1  # at most this much of it earlier, so that a fleet does not come at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A token's or a credential's life, as it was really granted, which may be less than asked."""

    id: str  # "" for a token: it is renewed as itself
    granted_at: datetime  # UTC
    duration: timedelta  # zero = it does not end
    renewable: bool

    @property
    def endless(self) -> bool:
        """Say whether it never ends (a root token)."""
        return self.duration <= timedelta(0)

    @property
    def ends_at(self) -> datetime:
        """Return when it stops working, UTC."""
        return self.granted_at + self.duration

    def renew_at(self, luck: float) -> datetime:
        """Return when to renew: two thirds of its life, a little earlier by luck.

        Args:
            luck: in [0, 1); drawn once per grant.
        """
        return self.granted_at + self.duration * (RENEW_AT - SPREAD * luck)

    def is_over(self, now: datetime) -> bool:
        """Say whether it stopped working."""
        return not self.endless and now >= self.ends_at
