"""The gate report: one self-contained HTML page that a portfolio manager enjoys reading."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from numpy.typing import NDArray

from pipelines.performance import SESSIONS_PER_YEAR, STILL, sharpe
from pipelines.report import pictures
from runtime.bundles.contract import GateVerdict

Array = NDArray[np.float64]
Scalar = int | float | str | bool

GATES_IN_WORDS = {
    "lookahead": ("Look-ahead", "Does any input or decision change when the future is cut off?"),
    "parity": ("Parity", "Do notebook, graph and runtime decide the same, to the bit?"),
    "spa": ("Superior predictive ability", "Could the best of all these trials be luck?"),
    "dsr": ("Deflated Sharpe ratio", "Is its Sharpe ratio high enough, given how often we tried?"),
    "pbo": (
        "Probability of overfitting",
        "Is what looks best in one half of history good in the other?",
    ),
    "export": ("Export", "Does the model's graph say what the model says, on every row?"),
}
STAGE_IN_WORDS = {
    "refused": "Refused. It does not trade, not even on paper.",
    "staging": "Fit for staging. It trades on paper only.",
    "production": "Fit for production.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Daily returns over one window; arrays of shape (T,), fractions per session."""

    days: Sequence[date]
    net: Array
    benchmark: Array

    @property
    def excess(self) -> Array:
        """Return net minus benchmark, shape (T,)."""
        return self.net - self.benchmark


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything the report shows; evidence only, nothing is computed from elsewhere."""

    study: str
    facts: Mapping[str, str]  # label -> text: question, hypothesis, source, universe, ...
    stage: str  # refused, staging or production
    verdicts: Sequence[GateVerdict]
    counts: Mapping[str, int]  # status -> number of trials
    candidate: Mapping[str, Scalar]  # parameters
    research: Track
    holdout: Track | None
    trial_sharpes: Array  # shape (N,), excess, per session
    hurdle: float | None  # expected best Sharpe of N worthless trials, per session
    logits: Array | None  # shape (S,), CSCV
    provenance: Mapping[str, str]  # label -> hash or version


def annual_sharpe(returns: Array) -> float:
    """Return the annualised Sharpe ratio; NaN, which is printed so, if returns never move."""
    return sharpe(returns) if returns.size > 1 and np.ptp(returns) > STILL else float("nan")


def key_figures(track: Track) -> dict[str, dict[str, float]]:
    """Return growth, volatility, Sharpe and worst drawdown, per year, of the three series."""
    figures: dict[str, dict[str, float]] = {}
    for name, returns in (
        ("Candidate", track.net),
        ("Equal-weighted universe", track.benchmark),
        ("Excess", track.excess),
    ):
        wealth = np.cumprod(1 + returns)
        years = returns.size / SESSIONS_PER_YEAR
        figures[name] = {
            "growth": float(wealth[-1] ** (1 / years) - 1),
            "volatility": float(returns.std(ddof=1) * np.sqrt(SESSIONS_PER_YEAR)),
            "sharpe": annual_sharpe(returns),
            "drawdown": float((wealth / np.maximum.accumulate(wealth) - 1).min()),
        }
    return figures


def render(data: ReportData) -> str:
    """Return the page. The same data gives the same bytes."""
    whole = _join(data.research, data.holdout)
    candidate_sharpe = float(data.research.excess.mean() / data.research.excess.std(ddof=1))
    return _template().render(
        data=data,
        gates=GATES_IN_WORDS,
        stage_in_words=STAGE_IN_WORDS[data.stage],
        tables=[
            (title, track, key_figures(track))
            for title, track in (
                ("Research window", data.research),
                ("Holdout, spent once", data.holdout),
            )
            if track is not None
        ],
        equity=pictures.equity(
            whole.days, whole.net, whole.benchmark, data.holdout.days[0] if data.holdout else None
        ),
        excess=pictures.excess(whole.days, whole.excess),
        drawdown=pictures.drawdown(whole.days, whole.net, whole.benchmark),
        trials=pictures.trials(data.trial_sharpes, candidate_sharpe, data.hurdle),
        logits=None if data.logits is None else pictures.logits(data.logits),
    )


def _join(first: Track, second: Track | None) -> Track:
    if second is None:
        return first
    return Track(
        days=[*first.days, *second.days],
        net=np.concatenate([first.net, second.net]),
        benchmark=np.concatenate([first.benchmark, second.benchmark]),
    )


def _number(value: float | None, digits: int = 3) -> str:
    if value is None or not np.isfinite(value):
        return "n/a"
    if 0 < abs(value) < 0.5 * 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"number": _number, "percent": _percent}
    return environment.from_string(files(__package__).joinpath("report.html.j2").read_text("utf-8"))
