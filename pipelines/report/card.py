"""The model card: what a bundle is for, where it comes from, and where it should not be trusted."""

from pipelines.report.page import ReportData, key_figures

_LIMITS = (
    "Prices are adjusted closes; fills are made on the next session's close.",
    "Costs are one all-in rate per traded notional; impact and borrow are not modelled.",
    "The deflated Sharpe ratio is judged at the raw number of trials; correlated trials make the "
    "hurdle too high rather than too low.",
)


def render_card(data: ReportData) -> str:
    """Return the card as Markdown, made of the report's evidence alone."""
    lines = [
        f"# {data.study}",
        "",
        f"Stage at promotion: **{data.stage}**",
        "",
        "## What it is",
        "",
    ]
    lines += [f"- {label}: {text}" for label, text in data.facts.items()]
    parameters = ", ".join(f"`{name} = {value}`" for name, value in data.candidate.items())
    counts = ", ".join(f"{number} {status}" for status, number in data.counts.items())
    lines += [f"- Candidate: {parameters}", f"- Trials counted: {counts}", "", "## Verdicts", ""]
    lines += [
        f"Record: `verdicts` of `manifest.json`; trials: the ledger's study `{data.study}`",
        "",
    ]
    lines += ["| gate | passed | statistic | wanted | reason |", "| --- | --- | --- | --- | --- |"]
    for verdict in data.verdicts:
        passed = "yes" if verdict.passed else "no"
        statistic = "n/a" if verdict.statistic is None else f"{verdict.statistic:.6g}"
        wanted = "" if verdict.threshold is None else f"{verdict.comparison} {verdict.threshold:g}"
        lines.append(f"| {verdict.gate} | {passed} | {statistic} | {wanted} | {verdict.reason} |")
    windows = (("Research window", "research", data.research), ("Holdout", "holdout", data.holdout))
    for title, window, track in windows:
        if track is None:
            continue
        lines += ["", f"## {title}", "", f"{track.days[0]} to {track.days[-1]}", ""]
        lines += [f"Record: rows of `returns.parquet` whose window is `{window}`", ""]
        lines += ["| | growth a year | volatility | Sharpe | worst drawdown |"]
        lines += ["| --- | ---: | ---: | ---: | ---: |"]
        for name, row in key_figures(track).items():
            lines.append(
                f"| {name} | {row['growth']:.2%} | {row['volatility']:.2%} "
                f"| {row['sharpe']:.2f} | {row['drawdown']:.2%} |"
            )
    lines += ["", "## Where not to trust it", ""]
    lines += [f"- {limit}" for limit in _LIMITS]
    lines += ["", "## Provenance", ""]
    lines += [f"- {label}: `{text}`" for label, text in data.provenance.items()]
    return "\n".join(lines) + "\n"
