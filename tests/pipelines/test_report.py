"""The gate report and the card: evidence only, self-contained, the same bytes every time."""

import re
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from pipelines.performance import sharpe
from pipelines.report.card import render_card
from pipelines.report.page import ReportData, Track, annual_sharpe, key_figures, render
from runtime.bundles.contract import GateVerdict


def _track(start: date, sessions: int, seed: int) -> Track:
    random = np.random.default_rng(seed)
    benchmark = random.normal(0.0004, 0.01, sessions)
    return Track(
        days=[start + timedelta(days=i) for i in range(sessions)],
        net=benchmark + random.normal(0.0001, 0.004, sessions),
        benchmark=benchmark,
    )


@pytest.fixture
def data() -> ReportData:
    verdict = GateVerdict(
        gate="spa",
        passed=False,
        statistic=0.2,
        threshold=0.05,
        comparison="<=",
        reason="One in five lucky worlds beats it & that is <too often>.",
        would_change="Eleven more years.",
        figures={"draws": 10000},
    )
    return ReportData(
        study="reversal",
        facts={"Question": "Do losers bounce?"},
        stage="refused",
        verdicts=(verdict,),
        counts={"complete": 19, "failed": 1},
        candidate={"lookback": 21},
        research=_track(date(1991, 1, 2), 600, 1),
        holdout=None,
        trial_sharpes=np.linspace(-0.02, 0.05, 19),
        hurdle=0.04,
        logits=np.linspace(-3, 3, 50),
        provenance={"data snapshot": "ab" * 32},
    )


def test_the_same_evidence_gives_the_same_page(data: ReportData) -> None:
    assert render(data) == render(data)


def test_the_page_loads_nothing_from_elsewhere(data: ReportData) -> None:
    references = re.findall(r'(?:src|href)="([^"]+)"', render(data))
    assert [reference for reference in references if not reference.startswith("#")] == []
    assert "<script" not in render(data)


def test_the_page_says_verdict_reason_and_remedy_and_escapes_them(data: ReportData) -> None:
    page = render(data)
    assert "Refused. It does not trade" in page
    assert "&amp; that is &lt;too often&gt;" in page
    assert "Eleven more years." in page
    assert "19 complete, 1 failed" in page


def test_a_spent_holdout_stands_beside_the_research_window(data: ReportData) -> None:
    assert "Holdout, spent once" not in render(data)
    spent = replace(data, holdout=_track(date(2017, 1, 3), 300, 2))
    assert "Holdout, spent once" in render(spent)
    assert "## Holdout" in render_card(spent)


def test_a_study_without_cross_validation_still_has_a_page(data: ReportData) -> None:
    assert "cross-validation: in each split" not in render(replace(data, logits=None, hurdle=None))


def test_card_lists_every_verdict_with_its_figures(data: ReportData) -> None:
    assert "| spa | no | 0.2 | <= 0.05 |" in render_card(data)


def test_every_table_of_the_card_names_the_record_its_figures_stand_in(data: ReportData) -> None:
    spent = replace(data, holdout=_track(date(2017, 1, 3), 100, 2))
    sections = render_card(spent).split("\n## ")[1:]
    tables = {one.splitlines()[0]: one for one in sections if "| --- |" in one}
    records = {"Verdicts": "manifest.json", "Research window": "research", "Holdout": "holdout"}
    assert tables.keys() == records.keys()
    for title, record in records.items():
        line = next(line for line in tables[title].splitlines() if line.startswith("Record: "))
        assert f"`{record}`" in line


def test_key_figures_of_a_known_path() -> None:
    # +10 %, then -50 %: worth 0.55 of the start, 50 % under the peak.
    track = Track(
        days=[date(2020, 1, 2), date(2020, 1, 3)],
        net=np.array([0.1, -0.5]),
        benchmark=np.zeros(2),
    )
    row = key_figures(track)["Candidate"]
    assert row["drawdown"] == pytest.approx(-0.5)
    assert row["growth"] == pytest.approx(0.55 ** (252 / 2) - 1)


def test_holding_the_benchmark_to_rounding_has_no_sharpe_ratio_to_be_chosen_by() -> None:
    benchmark = np.random.default_rng(3).normal(0.0004, 0.01, 500)
    noise = (1.0 + benchmark) * (1.0 + 1e-16 * np.arange(500)) - 1.0 - benchmark + 1e-17
    assert np.ptp(noise) > 0.0
    assert noise.mean() != 0.0
    assert sharpe(noise) == 0.0


def test_returns_that_never_move_have_no_sharpe_ratio() -> None:
    assert np.isnan(annual_sharpe(np.full(10, 0.001)))
