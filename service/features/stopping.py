"""A drift stop: nothing new for the studies that read what the lake does not confirm."""

from collections.abc import Iterable, Sequence

from featurestore.skew import SkewReport
from featurestore.skew_metrics import Alert
from runtime.bundles.bundle import LoadedBundle
from runtime.clock import WallClock
from runtime.kill.switch import KillSwitch
from service.flows.online import wanted_by
from service.settings import Settings
from service.trading.crew import live_crew

BY = "sluice features skew"


def stop_readers(
    settings: Settings, report: SkewReport, alerts: Iterable[Alert]
) -> tuple[str, ...]:
    """Engage `drift.STUDY` of every study that trades on a feature in doubt; return the scopes.

    Nothing is cancelled: what works was decided before. Two persons release a scope again. One that
    is on already stays as it is, with the reason it was engaged for.

    Raises:
        NotFound: no bundle is seated.
    """
    doubts = in_doubt(report, alerts)
    if not doubts:
        return ()
    bundles = live_crew(settings).bundles
    switch, now = KillSwitch.create(settings.workspace / "kill"), WallClock().now()
    standing = {stop.scope for stop in switch.state()}
    scopes = []
    for scope, reason in _readers(bundles, doubts).items():
        scopes.append(scope)
        if scope not in standing:
            switch.engage(scope, reason, by=BY, at=now)
    return tuple(scopes)


def in_doubt(report: SkewReport, alerts: Iterable[Alert]) -> dict[str, str]:
    """Return the features in doubt with the reason: rules that fire, or values that differ."""
    counts = report.counts()
    doubts = {
        feature: f"{sum(n for (name, _), n in counts.items() if name == feature)} values of "
        f"{feature} are not the lake's"
        for feature in {name for name, _ in counts}
    }
    for alert in alerts:
        feature = alert.labels.get("feature", "")
        if feature:
            doubts.setdefault(feature, f"{alert.rule.name} of {feature} is {alert.value:.3g}")
    return dict(sorted(doubts.items()))


def _readers(bundles: Sequence[LoadedBundle], doubts: dict[str, str]) -> dict[str, str]:
    """Return scope -> reason of every study whose bundle reads a feature in doubt."""
    found: dict[str, str] = {}
    for bundle, wanted in zip(bundles, wanted_by(bundles), strict=True):
        read = [doubts[name] for name in wanted.features if name in doubts]
        if read:
            found.setdefault(f"drift.{bundle.manifest.study}", "; ".join(read))
    return found
