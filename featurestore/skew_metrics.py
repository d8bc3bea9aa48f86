"""Skew, drift and age as Prometheus metrics, and the rules that say when to tell somebody."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from featurestore.drift import Drift
from featurestore.errors import ContractBroken
from featurestore.online.values import OnlineValues
from featurestore.skew import CAUSES, SkewReport

RULES_FILE = Path(__file__).with_name("alerts.toml")
METRICS = {
    "sluice_skew_compared": "Served values replayed against the lake.",
    "sluice_skew_differences": "Served values that the lake does not confirm, by cause.",
    "sluice_skew_share": "Share of served values that the lake does not confirm.",
    "sluice_drift_psi": "Population stability index of served against reference values.",
    "sluice_drift_ks": "Kolmogorov-Smirnov distance of served from reference values.",
    "sluice_drift_ks_p_value": "p-value of that distance.",
    "sluice_feature_age_of_limit": "Age of the oldest value served, divided by what is allowed.",
}


@dataclass(slots=True, eq=False)
class SkewMetrics(Collector):
    """Shows the last report, drifts and ages it was told; register it once."""

    _report: SkewReport | None = field(default=None, init=False)
    _drifts: dict[str, Drift] = field(default_factory=dict, init=False)
    _ages: dict[str, float] = field(default_factory=dict, init=False)

    def observe(self, report: SkewReport) -> None:
        """Show a replay and its drifts."""
        self._report = report
        self._drifts.update(report.drifts)

    def observe_drift(self, drifts: Mapping[str, Drift]) -> None:
        """Show drifts against another reference, e.g. the research period."""
        self._drifts.update(drifts)

    def observe_ages(self, answer: OnlineValues) -> None:
        """Show how old the values of an answer are, relative to what their views allow."""
        shares = (answer.ages / answer.freshness).max(axis=0)
        self._ages.update(zip(answer.features, map(float, shares), strict=True))

    def describe(self) -> Iterable[Metric]:
        """Name no metric before there is one."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield what is known now."""
        families = {
            name: GaugeMetricFamily(
                name,
                text,
                labels=("feature", "cause") if name == "sluice_skew_differences" else ("feature",),
            )
            for name, text in METRICS.items()
        }
        if self._report is not None:
            counts = self._report.counts()
            for feature, number in self._report.compared.items():
                families["sluice_skew_compared"].add_metric((feature,), number)
                families["sluice_skew_share"].add_metric((feature,), self._report.share(feature))
                for cause in CAUSES:
                    differ = counts[feature, cause]
                    families["sluice_skew_differences"].add_metric((feature, cause), differ)
        for feature, drift in self._drifts.items():
            families["sluice_drift_psi"].add_metric((feature,), drift.psi)
            families["sluice_drift_ks"].add_metric((feature,), drift.ks)
            families["sluice_drift_ks_p_value"].add_metric((feature,), drift.p_value)
        for feature, share in self._ages.items():
            families["sluice_feature_age_of_limit"].add_metric((feature,), share)
        yield from families.values()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When to tell somebody."""

    name: str
    metric: str
    above: float | None = None  # fires above this; or
    below: float | None = None  # fires below this
    for_minutes: int
    severity: str  # "page" or "ticket"
    summary: str

    def __post_init__(self) -> None:
        if self.metric not in METRICS or (self.above is None) == (self.below is None):
            raise ContractBroken(
                f"alert rule {self.name}: needs one of above and below, and a metric among "
                f"{', '.join(METRICS)}, not {self.metric}"
            )

    def fires(self, value: float) -> bool:
        """Tell whether a value of the metric is one to speak of."""
        return value > self.above if self.above is not None else value < (self.below or 0.0)

    @property
    def expression(self) -> str:
        """Return the rule's condition in PromQL."""
        if self.above is not None:
            return f"{self.metric} > {self.above:g}"
        return f"{self.metric} < {self.below:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A rule that fires."""

    rule: Rule
    labels: Mapping[str, str]
    value: float


def load_rules(path: Path = RULES_FILE) -> tuple[Rule, ...]:
    """Read alert rules; ContractBroken if the file does not hold any, or a wrong one."""
    try:
        plain = tomllib.loads(path.read_text("utf-8"))
        return tuple(Rule(**each) for each in plain["rule"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ContractBroken(f"alert rules {path.name} cannot be read: {error}") from error


def firing(metrics: SkewMetrics, rules: Iterable[Rule]) -> tuple[Alert, ...]:
    """Return the rules that the present values meet; how long they hold is Prometheus' business."""
    samples = [sample for family in metrics.collect() for sample in family.samples]
    return tuple(
        Alert(rule=rule, labels=sample.labels, value=sample.value)
        for rule in rules
        for sample in samples
        if sample.name == rule.metric and rule.fires(sample.value)
    )


def prometheus_rules(rules: Iterable[Rule]) -> dict[str, Any]:
    """Return the rules as a Prometheus rule group, plain data for a YAML file."""
    return {
        "groups": [
            {
                "name": "sluice-features",
                "rules": [
                    {
                        "alert": rule.name,
                        "expr": rule.expression,
                        "for": f"{rule.for_minutes}m",
                        "labels": {"severity": rule.severity},
                        "annotations": {"summary": rule.summary},
                    }
                    for rule in rules
                ],
            }
        ]
    }
