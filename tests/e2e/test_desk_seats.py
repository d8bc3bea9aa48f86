"""The desk's panel of seats, in real headless Chromium."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from runtime.database import open_database
from runtime.registry import CHALLENGER, ArmTest, Comparison, Promoted, Registry
from tests.e2e.test_desk import ARGUMENTS, BROWSER, pytestmark, served, sync_api
from tests.fakes.trading import traded_workspace

__all__ = ["pytestmark"]
AT = datetime(2017, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seats") / "ws"
    settings, _ = traded_workspace(folder, start=date(2017, 1, 3), end=date(2017, 2, 28))
    registry = Registry(open_database(settings.database_url))
    champion = registry.active()
    facts = {"by": "ada", "why": "a trial", "at": AT}
    for role, study in (("arm.b", "reversal"), (CHALLENGER, "<b>bold</b>")):
        registry.activate(
            Promoted(study=study, bundle=study[0] * 64, version=1, stage="staging"),
            role=role,
            comparison=Comparison(against=champion.bundle, alpha=0.05, bound=0.02)
            if role == CHALLENGER
            else None,
            **facts,
        )
    test = ArmTest(control="champion", alpha=0.05, bound=0.02)
    registry.allocate({"champion": "0.7", "arm.b": "0.3"}, test=test, **facts)
    with served(settings.workspace) as address, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        opened = browser.new_page(viewport={"width": 1400, "height": 1500})
        problems: list[str] = []
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.goto(address)
        opened.wait_for_selector("#seats-panel:not([hidden]) tbody tr")
        yield opened
        browser.close()
        assert problems == []


def test_every_seat_is_shown_with_its_share_or_the_evidence_so_far(page):
    rows = [
        [cell.inner_text().replace("\u202f", " ") for cell in row.query_selector_all("th, td")]
        for row in page.query_selector_all("#seats tbody tr")
    ]
    assert [row[0] for row in rows] == ["champion", "arm.b", "challenger"]
    assert [row[1] for row in rows] == ["tilt v1", "reversal v1", "<b>bold</b> v1"]
    assert [row[3] for row in rows] == ["70 % of the capital", "30 % of the capital", "in shadow"]
    assert rows[0][6] == "the control"
    assert rows[1][6] == "undecided after 0 sessions, evidence 1.00 of 66"
    assert rows[2][6] == "undecided after 0 days, evidence 1.00 of the 20 needed"
