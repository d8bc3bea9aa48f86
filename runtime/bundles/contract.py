"""The bundle contract: what a manifest says, as promotion writes it and the runtime obeys it.

Nothing volatile is in it: the same inputs give the same bytes and so the same bundle hash.
"""

import hashlib
from decimal import Decimal, InvalidOperation
from typing import Literal

import msgspec

from runtime.bundles.inputs import CurrentWeights, Latest, Window
from runtime.execution.style import AT_MARKET, Execution

SCHEMA_VERSION = 1

Stage = Literal["staging", "production", "retired"]


class DeclaredInput(msgspec.Struct, frozen=True, kw_only=True):
    """One input of the graph and the contract of the view it reads."""

    name: str
    source: Window | Latest | CurrentWeights
    view_hash: str | None  # version hash of the feature view; None for current weights


class DeclaredConfidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the graph's third output says, and what it obliges the decision to."""

    of: str  # name of the model whose calibrated confidence it is
    means: str  # which event happens as often as it says, in words
    abstains_below: float | None  # in 0..1; a less confident symbol has no weight; None = never

    def __post_init__(self) -> None:
        if self.abstains_below is not None and not 0.0 <= self.abstains_below <= 1.0:
            raise ValueError(f"abstains_below must lie in 0..1, was {self.abstains_below}")


class SizingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How target weights become orders; the same figures are used by backtest and runtime."""

    invested: float = 0.98  # fraction of equity that the target weights are scaled by
    cost_rate: float = 0.0005  # all-in cost per traded notional assumed by the backtest
    lot: int = 1  # units
    minimum_notional: str = "500.00"  # USD; smaller orders are left out
    collar: str = "0.10"  # limit price of a market order: reference * (1 +- collar)
    execution: Execution | msgspec.UnsetType = msgspec.UNSET  # not said = AT_MARKET

    @property
    def asks(self) -> Execution:
        """Return how orders are to be executed."""
        return AT_MARKET if self.execution is msgspec.UNSET else self.execution

    @property
    def at_market(self) -> "SizingPolicy":
        """Return the same policy with market orders, for what has to be sold whatever it brings."""
        return msgspec.structs.replace(self, execution=msgspec.UNSET)


class DataSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The lake as the candidate saw it."""

    versions: dict[str, int]  # table -> Delta version
    hash: str  # SHA-256 over the contents, hex


class GateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one gate says of the candidate; the evidence is in report.html and returns.parquet."""

    gate: str  # "lookahead", "parity", "spa", "dsr", "pbo"
    passed: bool
    statistic: float | None
    threshold: float | None
    comparison: Literal["<=", ">=", "=="]
    reason: str  # one sentence
    would_change: str  # what would change the verdict, in words
    figures: dict[str, float | int | str | None] = {}  # raw figures beside the judged one


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that names a bundle; its canonical bytes are hashed and signed."""

    schema_version: int
    study: str
    trial: str  # trial key, hex
    notebook: str  # repository path of the notebook
    parameters: dict[str, int | float | str | bool]
    universe: str
    symbols: tuple[str, ...]
    calendar: str  # "XNYS"
    schedule: str  # "month_end"
    inputs: tuple[DeclaredInput, ...]
    sizing: SizingPolicy
    price_feature: str  # "view.field" that marks and fills are made on
    snapshot: DataSnapshot
    files: dict[str, str]  # file name -> SHA-256, hex; every file but manifest.json and signature
    notebook_hash: str
    code_hash: str
    git_commit: str
    lock_hash: str
    trials: int
    verdicts: tuple[GateVerdict, ...]
    stage: Stage
    decide_cell: int  # 0-based index of the notebook cell that decides
    research_window: tuple[str, str]  # ISO dates, inclusive
    holdout_window: tuple[str, str]
    confidence: DeclaredConfidence | msgspec.UnsetType = msgspec.UNSET  # not said = none is given

    @property
    def abstains_below(self) -> float | None:
        """Return the confidence under which a symbol may have no weight; None = there is none."""
        return None if self.confidence is msgspec.UNSET else self.confidence.abstains_below


class StopBands(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a bundle may go wrong before it is taken out; fixed when it is promoted.

    All are fractions, exact decimals, of what its own books made since it took its seat; a band
    that is left out never stops it.
    """

    max_drawdown: str | None = None  # below the highest close since then
    max_daily_loss: str | None = None  # from one close to the next
    max_shortfall: str | None = None  # behind the benchmark since then

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            text = getattr(self, name)
            if text is not None and not _is_fraction(text):
                raise ValueError(f"{name} must be a fraction above 0 and at most 1, was {text!r}")


def _is_fraction(text: str) -> bool:
    try:
        return 0 < Decimal(text) <= 1
    except InvalidOperation:
        return False


class Signature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Ed25519 over manifest and promotion facts; the only volatile file of a bundle."""

    manifest_hash: str
    signer: str
    signed_at: str  # ISO 8601, UTC
    version: int  # monotonic per study
    stage: Stage
    public_key: str  # hex
    signature: str  # hex, over `signed_bytes`
    by: str = ""  # who promoted; the signer is whose key it was
    why: str = ""  # in words
    bands: StopBands | None = None


def canonical(value: object) -> bytes:
    """Return the one JSON encoding of a value: sorted keys, no white space, decimals as strings."""
    return msgspec.json.encode(value, order="deterministic")


def manifest_hash(manifest: Manifest) -> str:
    """Return the bundle's name: SHA-256 over the manifest's canonical bytes, hex."""
    return hashlib.sha256(canonical(manifest)).hexdigest()
