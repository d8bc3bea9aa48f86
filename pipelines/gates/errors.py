"""What can go wrong in the gates, each error named for what happened."""

from featurestore.errors import PlatformError


class GateError(PlatformError):
    """A gate could not judge; nothing was promoted."""


class GateInputInvalid(GateError):
    """Evidence is malformed: wrong shape, not finite, or impossible; the text says where."""


class GatePolicyInvalid(GateError):
    """The gate policy file is unreadable, incomplete or out of range."""
