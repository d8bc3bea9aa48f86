"""Runs every rule on one backtest; a trial brings its study and universe along."""

from dataclasses import dataclass

from featurestore.universes import Universe, universe
from pipelines.backtest import Backtest
from pipelines.evaluate import Trial
from pipelines.ledger import Charge
from pipelines.lint import rules
from pipelines.lint.findings import LintReport
from pipelines.study import Study
from runtime.bundles.inputs import Array

_ORDER = {"alarm": 0, "note": 1, "fine": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What lint must know beside the backtest."""

    cost_rate: float  # fraction of traded notional that was charged
    invested: float  # fraction of equity that target weights share
    parameters: int  # free parameters of the strategy
    configurations: int  # points of the declared search space
    survivors: bool  # the universe was drawn up with knowledge of who survived
    capital: float  # quote currency that is meant to be run
    daily_notional: Array | None = None  # (n,), quote currency traded a day; None = unknown
    charge: Charge | None = None  # how often the question was tried; None = no ledger at hand

    @classmethod
    def of(
        cls,
        study: Study,
        members: Universe,
        *,
        capital: float = 1_000_000.0,
        daily_notional: Array | None = None,
        charge: Charge | None = None,
    ) -> "Context":
        """Return the context of a study's trials."""
        return cls(
            cost_rate=study.costs,
            invested=study.invested,
            parameters=len(study.search_space),
            configurations=len(study.configurations()),
            survivors=members.survivors,
            capital=capital,
            daily_notional=daily_notional,
            charge=charge,
        )


def lint_backtest(result: Backtest, context: Context) -> LintReport:
    """Run every rule; the same backtest and context give the same report."""
    found = [
        rules.zero_trades(result),
        rules.flat_equity(result),
        rules.same_bar_fills(result),
        rules.stale_fills(result),
        rules.late_fills(result, cost_rate=context.cost_rate, invested=context.invested),
        rules.few_days(result),
        rules.too_good(result),
        rules.too_many_parameters(
            result,
            parameters=context.parameters,
            configurations=context.configurations,
            charge=context.charge,
        ),
        rules.capacity(
            result,
            cost_rate=context.cost_rate,
            capital=context.capital,
            daily_notional=context.daily_notional,
        ),
        rules.overdrawn(result),
        rules.survivors(context.survivors),
    ]
    return LintReport(tuple(sorted(found, key=lambda one: _ORDER[one.level])))


def lint(
    trial: Trial,
    *,
    capital: float = 1_000_000.0,
    daily_notional: Array | None = None,
    charge: Charge | None = None,
) -> LintReport:
    """Check a recorded trial for what usually turns a fine backtest into a bad surprise.

    Args:
        trial: as `submit` returned it.
        capital: quote currency that is meant to be run with it.
        daily_notional: shape (n,), quote currency that trades in each symbol a day, if known.
        charge: from `Ledger.charge`; None = only the declared search space is known.
    """
    study = trial.definition.study
    context = Context.of(
        study,
        universe(study.universe),
        capital=capital,
        daily_notional=daily_notional,
        charge=charge,
    )
    return lint_backtest(trial.backtest, context)
