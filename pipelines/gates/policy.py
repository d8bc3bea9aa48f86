"""The thresholds of every gate, read from one file and named by its hash."""

import hashlib
import tomllib
from importlib.resources import files
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.gates.blocklength import shared_block
from pipelines.gates.errors import GatePolicyInvalid
from runtime.bundles.contract import canonical
from runtime.decoding import from_plain

Array = NDArray[np.float64]
Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class SpaPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Superior predictive ability."""

    alpha: Share  # largest consistent p-value that passes
    draws: Annotated[int, msgspec.Meta(ge=100)]
    mean_block: Literal["automatic", "sqrt"] | Annotated[int, msgspec.Meta(ge=1)]  # sessions
    seed: Annotated[int, msgspec.Meta(ge=0)]

    def block(self, excess: Array) -> int:
        """Return the mean bootstrap block for trials of shape (T, N), in sessions."""
        if self.mean_block == "automatic":
            return shared_block(excess)
        return round(len(excess) ** 0.5) if self.mean_block == "sqrt" else self.mean_block


class DsrPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deflated Sharpe ratio."""

    confidence: Annotated[float, msgspec.Meta(gt=0.5, lt=1)]  # smallest value that passes


class PboPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Probability of backtest overfitting."""

    ceiling: Share  # largest value that passes
    blocks: Annotated[int, msgspec.Meta(ge=2, le=24, multiple_of=2)]


class ParityPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Agreement of NumPy and graph."""

    tolerance: Annotated[float, msgspec.Meta(gt=0)]  # |difference| / max(1, |value|)


class LookaheadPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Truncation invariance."""

    samples: Count  # decision dates
    seed: Annotated[int, msgspec.Meta(ge=0)]


class GatePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every threshold there is."""

    sessions_per_year: Count  # for words only
    spa: SpaPolicy
    dsr: DsrPolicy
    pbo: PboPolicy
    parity: ParityPolicy
    lookahead: LookaheadPolicy

    @property
    def hash(self) -> str:
        """Return SHA-256 over the values, hex; comments and layout of the file do not count."""
        return hashlib.sha256(canonical(self)).hexdigest()

    @property
    def shortest(self) -> int:
        """Return the fewest sessions that can be judged: two in every block, ten at least."""
        return max(10, 2 * self.pbo.blocks)


def read_policy(text: bytes | str) -> GatePolicy:
    """Read a gate policy.

    Args:
        text: TOML, with every value of policy.toml and no other.

    Raises:
        GatePolicyInvalid: not TOML, a value missing, unknown or out of range; named by its path.
    """
    try:
        plain = tomllib.loads(text if isinstance(text, str) else text.decode())
        return from_plain(plain, GatePolicy)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise GatePolicyInvalid(f"gate policy: {error}") from error


def default_policy() -> GatePolicy:
    """Return the policy that ships with the package."""
    return read_policy(files(__package__).joinpath("policy.toml").read_bytes())
