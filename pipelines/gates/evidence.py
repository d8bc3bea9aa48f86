"""What the gates judge: daily returns of every trial, the benchmark beside them, and N."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.sharpe import sharpe_ratios
from pipelines.ledger.records import StudyEvidence
from pipelines.ledger.scopes import Charge

Array = NDArray[np.float64]
Days = NDArray[np.datetime64]

NOISE = 1e-9  # an excess return that moves this little against its benchmark is rounding


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """All trials of one study over its research window.

    Excess returns that are nothing but rounding noise (a trial that holds its benchmark) count as
    what they are, constant; else a Sharpe ratio of noise over noise could be the best of all.
    """

    study: str
    dates: Days  # (T,), datetime64[D], ascending
    excess: Array  # (T, N), net return minus benchmark, fraction per session
    raw: Array  # (T, N), net return, fraction per session
    benchmark: Array  # (T,), fraction per session
    trials: tuple[str, ...]  # (N,), keys of the trials that returned something
    counted: int  # every trial ever opened: failed, pruned and crashed ones too; >= N
    candidate: int | None = None  # column; None = the best excess Sharpe ratio
    charge: Charge | None = None  # what N is made of; None = unknown

    def __post_init__(self) -> None:
        shape = (len(self.dates), len(self.trials))
        if self.excess.shape != shape or self.raw.shape != shape:
            raise GateInputInvalid(
                f"study {self.study}: {shape[0]} days and {shape[1]} trials, but excess returns of "
                f"shape {self.excess.shape} and raw ones of shape {self.raw.shape}"
            )
        if self.benchmark.shape != shape[:1]:
            raise GateInputInvalid(
                f"study {self.study}: {shape[0]} days, but {self.benchmark.shape} benchmark returns"
            )
        if self.counted < shape[1] or len(set(self.trials)) < shape[1]:
            raise GateInputInvalid(
                f"study {self.study}: {shape[1]} trials have returns, of which "
                f"{len(set(self.trials))} distinct, but {self.counted} are counted"
            )
        if self.candidate is not None and not 0 <= self.candidate < shape[1]:
            raise GateInputInvalid(
                f"study {self.study}: candidate {self.candidate} is none of {shape[1]} trials"
            )
        self._require_finite()
        self._settle_noise()

    def _require_finite(self) -> None:
        for name, values in (("excess", self.excess), ("raw", self.raw)):
            if not np.isfinite(values).all():
                row, column = (int(place[0]) for place in np.nonzero(~np.isfinite(values)))
                raise GateInputInvalid(
                    f"study {self.study}: {name} return of trial {self.trials[column][:12]} on "
                    f"{self.dates[row]} is {values[row, column]}; a missing price must end a "
                    "trial as failed, not become a return"
                )
        if not np.isfinite(self.benchmark).all():
            row = int(np.flatnonzero(~np.isfinite(self.benchmark))[0])
            raise GateInputInvalid(
                f"study {self.study}: the benchmark's return on {self.dates[row]} "
                f"is {self.benchmark[row]}"
            )

    def _settle_noise(self) -> None:
        """Make columns constant that differ from a constant by rounding only."""
        if self.excess.size == 0:
            return
        scale = NOISE * np.maximum(np.ptp(self.raw, axis=0), np.ptp(self.benchmark))
        still = np.ptp(self.excess, axis=0) <= scale
        if still.any():
            settled = np.array(self.excess)
            means = self.excess[:, still].mean(axis=0)
            settled[:, still] = np.where(np.abs(means) > scale[still], means, 0.0)
            gains = np.flatnonzero(still & (settled[0] > 0))
            if gains.size:
                raise GateInputInvalid(
                    f"study {self.study}: trial {self.trials[gains[0]][:12]} gains "
                    f"{settled[0, gains[0]]:.3g} over the benchmark on every day alike; returns "
                    "without risk point to an error in the backtest"
                )
            object.__setattr__(self, "excess", settled)

    @property
    def chosen(self) -> int:
        """Return the candidate's column: the named one, else the best."""
        return self.best if self.candidate is None else self.candidate

    @property
    def best(self) -> int:
        """Return the column with the best excess Sharpe ratio; of level ones the smallest key."""
        sharpes = sharpe_ratios(self.excess)
        level = np.flatnonzero(sharpes == sharpes.max())
        return int(min(level, key=lambda column: self.trials[column]))


def evidence_of(study: StudyEvidence, *, candidate: str | None = None) -> Evidence:
    """Return what the ledger holds of a study as evidence for the gates.

    Args:
        study: from `Ledger.evidence`.
        candidate: trial key; None = the best excess Sharpe ratio of the study's own trials.
    """
    if candidate is None and study.foreign:
        sharpes = sharpe_ratios(study.excess)
        candidate = study.names[max(study.own, key=lambda k: (sharpes[k], -k))]
    return Evidence(
        study=study.study,
        dates=study.dates,
        excess=study.excess,
        raw=study.net,
        benchmark=study.benchmark,
        trials=study.names,
        counted=study.trials,
        candidate=None if candidate is None else study.column(candidate),
        charge=study.charge,
    )
