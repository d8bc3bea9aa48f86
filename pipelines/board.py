"""Pictures of a study as the ledger knows it: trials, luck, overfitting, equity of all of them."""

from typing import Any

import numpy as np

from pipelines.errors import EvidenceMissing
from pipelines.gates.pbo import judged_overfitting
from pipelines.gates.policy import default_policy
from pipelines.gates.sharpe import expected_best_sharpe, sampling_deviation, sharpe_ratios
from pipelines.gates.spa import superior_ability
from pipelines.ledger import Ledger, StudyEvidence
from pipelines.pictures import ACCENT, BENCHMARK, INK, LOSS, MUTED, Picture, Table, draw
from runtime.bundles.inputs import Array

YEAR = 252  # sessions


def studies_table(ledger: Ledger) -> Table:
    """Tabulate every study with its trials by status."""
    rows = []
    for record in ledger.studies():
        counts = ", ".join(f"{count} {status}" for status, count in record.by_status.items())
        judged = ledger.judgements(record.name)
        verdict = judged[-1].stage if judged else "not judged"
        rows.append((record.name, f"{record.trials}", counts, verdict))
    return Table(("Study", "Trials", "By status", "Verdict"), rows)


def trials_table(ledger: Ledger, study: str, count: int = 15) -> Table:
    """Tabulate a study's trials, best excess Sharpe ratio first; those without returns last."""
    trials = sorted(
        ledger.trials(study), key=lambda one: -one.figures.get("excess_sharpe", -np.inf)
    )
    rows = [
        (
            one.key[:12],
            ", ".join(f"{name}={value}" for name, value in one.parameters.items()),
            one.status,
            f"{one.figures['excess_sharpe']:.2f}" if "excess_sharpe" in one.figures else "",
            f"{one.opened_at:%Y-%m-%d %H:%M}",
        )
        for one in trials[:count]
    ]
    return Table(("Trial", "Parameters", "Status", "Excess Sharpe", "Opened, UTC"), rows)


def sharpe_distribution(evidence: StudyEvidence) -> Picture:
    """Draw all trials' Sharpe ratios and the hurdle that their number sets, annualised."""
    ratios = sharpe_ratios(evidence.excess)
    yearly = ratios * np.sqrt(YEAR)
    best = float(yearly.max())
    hurdle: float | None = None
    if evidence.trials > 1 and ratios.size > 1:
        floor = sampling_deviation(len(evidence.dates))
        luckiest = expected_best_sharpe(ratios, counted=evidence.trials, floor=floor)
        hurdle = float(luckiest * np.sqrt(YEAR))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.hist(yearly, bins=min(40, max(5, yearly.size // 2)), color=ACCENT)
        marks = [(best, "best trial", INK, 0.92)]
        if hurdle is not None:
            name = f"expected of the luckiest of {evidence.trials}"
            marks.append((hurdle, name, LOSS, 0.8))
        for value, name, colour, height in marks:
            axes.axvline(value, color=colour, linewidth=1.2)
            axes.annotate(
                f" {name}: {value:.2f} ",
                (value, height),
                xycoords=("data", "axes fraction"),
                color=colour,
                ha="right" if value > float(yearly.mean()) else "left",
            )
        axes.set_xlabel("annualised Sharpe ratio in excess of the benchmark")
        axes.set_title(f"{evidence.study}: {yearly.size} complete of {evidence.trials} trials")

    said = "" if hurdle is None else f"; luck alone would show {hurdle:.2f}"
    words = f"The best of {evidence.trials} trials has a Sharpe ratio of {best:.2f}{said}."
    return draw(paint, words=words, size=(8.6, 2.9))


def overfitting(evidence: StudyEvidence) -> Picture:
    """Draw the logits of CSCV, and in-sample against out-of-sample Sharpe ratios.

    Blocks are those of the shipped gate policy.

    Raises:
        EvidenceMissing: fewer than two complete trials.
    """
    if len(evidence.names) < 2:
        raise EvidenceMissing(f"study {evidence.study}: overfitting needs two complete trials")
    found = judged_overfitting(evidence.excess, blocks=default_policy().pbo.blocks)

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        edges = np.linspace(found.logits.min() - 0.1, found.logits.max() + 0.1, 41)
        counts, _ = np.histogram(found.logits, edges)
        middle = (edges[1:] + edges[:-1]) / 2
        colours = [LOSS if at <= 0 else ACCENT for at in middle]
        left.bar(middle, counts, width=edges[1] - edges[0], color=colours)
        left.axvline(0.0, color=INK, linewidth=1.0)
        left.set_title(f"Logits over {found.logits.size:,} splits; PBO {found.pbo:.2f}")
        left.set_xlabel("left of zero: the best in sample fell below the median")
        scale = np.sqrt(YEAR)
        x, y = found.in_sample * scale, found.out_of_sample * scale
        right.plot(x, y, ".", color=ACCENT, alpha=0.15, markersize=3)
        span = np.array([x.min(), x.max()])
        right.plot(span, found.slope * span + found.intercept * scale, color=INK)
        right.axhline(0.0, color=MUTED, linewidth=0.8)
        right.set_xlabel("Sharpe ratio where it was chosen")
        right.set_title(f"The same trial in the other half; slope {found.slope:.2f}")

    words = (
        f"In {found.pbo:.0%} of {found.logits.size} splits the best trial in sample fell below the "
        f"median out of sample; with one vote for each of {found.clusters} clusters of near copies "
        f"in {found.clustered:.0%}. The worse is judged."
    )
    return draw(paint, words=words, size=(8.6, 3.0))


def superiority_table(evidence: StudyEvidence) -> Table:
    """Tabulate Hansen's test with its three p-values, studentised and raw, as the gate runs it.

    Block, draws and seed are those of the shipped gate policy.
    """
    policy = default_policy().spa
    found = superior_ability(
        evidence.excess,
        mean_block=policy.block(evidence.excess),
        draws=policy.draws,
        seed=policy.seed,
    )
    rows = []
    for name, test in (("studentised", found.studentised), ("raw", found.raw)):
        values = (test.p_lower, test.p_consistent, test.p_upper)
        rows.append((name, *(f"{value:.4f}" for value in values)))
    return Table((f"SPA, {policy.draws} draws", "p lower", "p consistent", "p upper"), rows)


def equity_fan(evidence: StudyEvidence) -> Picture:
    """Draw every complete trial over its benchmark: the fan, its middle half, the best one."""
    steps = (1.0 + evidence.net) / (1.0 + evidence.benchmarks)
    relative: Array = np.cumprod(steps, axis=0, dtype=np.float64)
    best = int(sharpe_ratios(evidence.excess).argmax())
    low, quarter, half, upper, high = np.quantile(relative, (0.0, 0.25, 0.5, 0.75, 1.0), axis=1)
    days = evidence.dates

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.set_yscale("log")
        axes.fill_between(days, low, high, color=BENCHMARK, alpha=0.25, linewidth=0)
        axes.fill_between(days, quarter, upper, color=ACCENT, alpha=0.25, linewidth=0)
        axes.plot(days, half, color=ACCENT, linewidth=1.0)
        axes.plot(days, relative[:, best], color=INK, linewidth=1.0)
        axes.axhline(1.0, color=MUTED, linewidth=0.8)
        for values, name, colour in ((half, "median", ACCENT), (relative[:, best], "best", INK)):
            axes.annotate(
                f" {name} {values[-1]:.2f}x", (days[-1], values[-1]), color=colour, va="center"
            )
        axes.set_xlim(days[0], days[-1] + (days[-1] - days[0]) // 7)
        bounds = float(low.min()), float(high.max())
        round_ones = [m * 10.0**e for e in range(-3, 4) for m in (1, 2, 5)]
        ticks = [step for step in round_ones if bounds[0] * 0.9 <= step <= bounds[1] * 1.1]
        axes.set_yticks(ticks, [f"{tick:g}x" for tick in ticks])
        axes.minorticks_off()
        axes.set_title("Every trial divided by its benchmark (grey: all, blue: middle half)")

    ahead = int((relative[-1] > 1.0).sum())
    words = f"{ahead} of {len(evidence.names)} complete trials end above their benchmark."
    return draw(paint, words=words, size=(8.6, 3.4))
