"""The desk in real headless Chromium, over years that a real engine replayed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.fakes.trading import trade, traded_workspace
from tests.servers import free_port

sync_api = pytest.importorskip("playwright.sync_api")
ROOT = Path(__file__).resolve().parents[2]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
pytestmark = pytest.mark.skipif(not Path(BROWSER).exists(), reason="no Chromium on this host")


@contextmanager
def served(workspace: Path) -> Iterator[str]:
    """Serve a workspace as `sluice serve` does; yield the address once it answers."""
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "serve", "-w", workspace, "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/health/live", timeout=20).close()
                break
            except (OSError, HTTPException):
                assert child.poll() is None, "the service ended"
                assert time.monotonic() < deadline, "the service does not answer"
                time.sleep(0.05)
        yield address
    finally:
        child.terminate()
        child.wait(timeout=60)


def fetch(address: str, path: str):
    with urllib.request.urlopen(address + path, timeout=60) as reply:
        return json.load(reply)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk") / "ws"
    traded_workspace(folder, end=date(2018, 4, 13))
    with served(folder) as address:
        yield address


@contextmanager
def page_of(browser, address, *, width=1280, height=900, scheme="light", path="/"):
    """Open the desk; at the end nothing may have failed or asked another host."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    page.on(
        "request",
        lambda asked: asked.url.startswith(address) or complaints.append(f"asked {asked.url}"),
    )
    page.goto(address + path)
    yield page
    # A missing decision or a service that is not ready yet is an answer, not a complaint.
    kept = [one for one in complaints if "status of 404" not in one and "status of 503" not in one]
    context.close()
    assert kept == []


def settle(page, day: str) -> None:
    page.wait_for_function("day => document.documentElement.dataset.day === day", arg=day)


def text(page, selector: str) -> str:
    return page.inner_text(selector).replace("\u202f", " ").replace("\u2212", "-")


def test_the_desk_opens_on_the_newest_session_with_the_journal_s_figures(browser, address):
    with page_of(browser, address) as page:
        settle(page, "2018-04-13")
        curve = fetch(address, "/equity")
        assert page.inner_text("#day") == "Friday, 13 April 2018"
        figures = text(page, "#figures")
        assert f"${float(curve['equity'][-1]):,.0f}" in figures
        assert f"{100 * curve['strategy']['total_return']:.1f} %" in figures
        assert f"{100 * curve['reference']['total_return']:.1f} %" in figures
        assert f"{curve['strategy']['sharpe']:.2f}" in figures
        assert f"{curve['information_ratio']:.2f}" in figures
        assert "$0.00" in figures
        assert page.locator("#signals tbody tr").count() == 8
        assert page.locator("#positions tbody tr").count() == 8
        assert page.locator("#plan tbody tr").count() == len(fetch(address, "/plan")["lines"])
        assert page.locator("#checks .check").count() == 8
        assert page.locator("#checks .failed").count() == 0
        assert page.locator("#chart path.strategy").count() >= 2
        assert "staging, paper only" in page.inner_text("#bundle")
        page.wait_for_selector("#health.fine", timeout=30_000)


def test_a_replayed_year_is_stepped_through_decision_by_decision(browser, address):
    days = fetch(address, "/equity")["decisions"]
    with page_of(browser, address, path=f"/#{days[0]}") as page:
        settle(page, days[0])
        for day in days[1:13]:
            page.click("#forth")
            settle(page, day)
            assert page.inner_text("#day-note") == "A decision was taken at this close"
            signals = fetch(address, f"/signals?day={day}")
            best = signals["signals"][0]
            assert page.inner_text("#signals tbody tr:first-child th") == best["symbol"]
            assert page.url.endswith(f"#{day}")
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "() => document.querySelector('#day-note').textContent.startsWith('Holding')"
        )
        page.click("#back")
        settle(page, days[12])


def test_the_slider_the_years_and_the_months_all_lead_to_a_session(browser, address):
    days = fetch(address, "/equity")["days"]
    with page_of(browser, address) as page:
        settle(page, days[-1])
        page.get_by_role("button", name="2017", exact=True).click()
        last = max(day for day in days if day < "2018")
        settle(page, last)
        page.locator("#scrub").evaluate(
            "(node, at) => { node.value = at; node.dispatchEvent(new Event('input')); }", 100
        )
        settle(page, days[100])
        page.locator("#months tbody tr").first.locator("button").nth(1).click()
        settle(page, max(day for day in days if day < "2017-03"))
        page.locator("#chart svg").click(position={"x": 2, "y": 60})
        settle(page, days[0])
        assert "still ahead" in page.inner_text("#signals")
        assert page.inner_text("#positions") == "All in cash."


def test_playing_moves_through_the_decisions_and_stops_at_the_end(browser, address):
    days = fetch(address, "/equity")["decisions"]
    with page_of(browser, address, path=f"/#{days[-2]}") as page:
        settle(page, days[-2])
        page.click("#play")
        settle(page, "2018-04-13")
        page.wait_for_function("() => document.querySelector('#play').textContent === 'Play'")


def test_a_decision_opens_down_to_the_notebook_cell(browser, address):
    with page_of(browser, address) as page:
        settle(page, "2018-04-13")
        page.locator("#decisions .decision").nth(1).click()
        page.wait_for_selector("#drawer .trail")
        steps = page.locator("#drawer .trail .step").all_inner_texts()
        assert steps == ["Decision", "Bundle", "Study", "Gates", "Trial", "Run", "Cell"]
        assert "def decide(xp, inputs):" in page.inner_text("#drawer .cell")
        assert "20161231T101500-tilt" in page.inner_text("#drawer .trail")
        order = page.locator("#drawer details.order").first
        order.locator("summary").click()
        assert order.locator(".verdicts tbody tr").count() == 8
        assert order.locator(".fills tbody tr").count() >= 1
        page.locator("#drawer details.input summary").first.click()
        assert page.locator("#drawer details.input").first.locator("tbody tr").count() == 8
        page.keyboard.press("Escape")
        assert not page.locator("#drawer").is_visible()
        page.locator("#plan tbody tr").first.click()
        page.wait_for_selector("#drawer details.order[open]")


def altered(page, path, change, *, status=200, headers=None):
    """Let the page read the service's own answer with something in it changed."""

    def answer(route):
        reply = route.fetch()
        body = json.dumps(change(reply.json()))
        route.fulfill(response=reply, status=status, body=body, headers=reply.headers | headers)

    headers = headers or {}
    page.route(path, answer)


def test_an_order_says_how_it_is_priced_and_how_long_it_may_rest(browser, address):
    def stopped(plan):
        stop = {"order_type": "stop", "stop_price": "84.10", "time_in_force": "gtc"}
        return plan | {"lines": [plan["lines"][0] | stop, *plan["lines"][1:]]}

    with page_of(browser, address, path="/#2017-06-30") as page:
        settle(page, "2017-06-30")
        assert {*page.locator("#plan td:nth-child(7)").all_inner_texts()} == {"Market, DAY"}
        page.locator("#plan tbody tr").first.click()
        page.wait_for_selector("#drawer details.order[open]")
        line = fetch(address, "/plan?day=2017-06-30")["lines"][0]
        terms = f"Market, collar ${float(line['limit_price']):,.2f}, for the day (DAY)"
        assert terms in page.inner_text("#drawer details.order[open] .reason")
        assert terms in page.inner_text("#drawer details.order[open] .child")
        page.keyboard.press("Escape")
        altered(page, "**/plan*", stopped)
        page.click("#latest")
        settle(page, "2018-04-13")
        cell = page.locator("#plan tbody tr").first.locator("td").nth(5)
        assert cell.inner_text() == "Stop $84.10, GTC"
        assert "woken at $84.10, collar $" in cell.get_attribute("title")


def test_an_old_answer_says_how_old_it_is_and_a_very_old_one_warns(browser, address):
    with page_of(browser, address) as page:
        settle(page, "2018-04-13")
        assert page.inner_text("#age").startswith("as of ")
        assert not page.locator("#stale").is_visible()
        altered(page, "**/equity", lambda curve: curve, headers={"age": "12"})
        page.reload()
        settle(page, "2018-04-13")
        page.wait_for_function(
            "() => /as of 1[2-9] s ago/.test(document.querySelector('#age').innerText)"
        )
        assert not page.locator("#stale").is_visible()
        altered(page, "**/positions*", lambda found: found, headers={"age": "260"})
        page.reload()
        page.wait_for_selector("#stale:not([hidden])")
        assert "What is shown is 4 minutes old." in page.inner_text("#stale")
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_a_service_that_is_gone_leaves_the_page_with_its_age_until_it_is_back(browser, address):
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    page.goto(address)
    settle(page, "2018-04-13")
    page.wait_for_selector("#health.fine", timeout=30_000)
    page.route("**/*", lambda route: route.abort())
    page.clock.fast_forward(70_000)
    page.wait_for_function(  # the question that was under way may have been answered yet
        "() => document.querySelector('#health').innerText === 'No answer'", timeout=30_000
    )
    page.wait_for_selector("#stale:not([hidden])")
    assert "The service does not answer." in page.inner_text("#stale")
    assert page.inner_text("#day") == "Friday, 13 April 2018"  # what was known stays
    page.click("#back")  # a session that was not read before
    page.wait_for_function(
        "() => document.querySelector('#signals').innerText.includes('cannot be read')"
    )
    assert page.inner_text("#day") == "Thursday, 29 March 2018"
    assert page.locator("#positions tbody tr").count() == 0
    page.unroute("**/*")
    page.clock.fast_forward(11_000)
    settle(page, "2018-03-29")
    page.wait_for_selector("#stale", state="hidden")
    assert page.locator("#positions tbody tr").count() == 8
    context.close()


def test_a_page_that_opens_while_the_database_is_gone_says_so(browser, address):
    words = {"detail": "the database does not answer: refused", "remedy": "start it"}
    with page_of(browser, address) as page:
        settle(page, "2018-04-13")
        altered(page, "**/equity", lambda _: words, status=503)
        page.reload()
        page.wait_for_selector("#empty:not([hidden])")
        assert "The journal cannot be read" in page.inner_text("#empty")
        assert "The database does not answer: refused. Start it." in page.inner_text("#empty")
        assert "Nothing has traded yet" not in page.inner_text("#empty")


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (768, 1024), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_or_is_cut_off(browser, address, width, height, scheme):
    with page_of(browser, address, width=width, height=height, scheme=scheme) as page:
        settle(page, "2018-04-13")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # A figure may be shortened only in its note, never in its value.
        assert page.evaluate(
            "() => [...document.querySelectorAll('.figure-value')]"
            ".every(node => node.scrollWidth <= node.clientWidth)"
        )
        # Wide tables scroll inside their panel; what may not scroll must fit.
        assert page.evaluate(
            "() => [...document.querySelectorAll('.body:not(.scroll)')]"
            ".every(node => node.scrollWidth <= node.clientWidth)"
        )
        ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (ground == "rgb(13, 18, 24)") == (scheme == "dark")
        shots = os.environ.get("SLUICE_SHOTS")
        if shots:
            page.wait_for_timeout(300)
            page.screenshot(path=f"{shots}/desk-{width}-{scheme}.png", full_page=True)


def test_light_and_dark_can_be_chosen_and_are_remembered(browser, address):
    with page_of(browser, address) as page:
        settle(page, "2018-04-13")
        page.click("#theme")
        assert page.get_attribute("html", "data-theme") == "dark"
        page.reload()
        settle(page, "2018-04-13")
        assert page.get_attribute("html", "data-theme") == "dark"


def test_an_open_page_follows_a_runtime_that_goes_on_trading(browser, tmp_path):
    settings, _ = traded_workspace(tmp_path / "ws", end=date(2017, 2, 10))
    with served(settings.workspace) as address:
        context = browser.new_context()
        page = context.new_page()
        page.clock.install()
        page.goto(address)
        settle(page, "2017-02-10")
        trade(settings, date(2017, 1, 3), date(2017, 3, 3))
        page.clock.fast_forward(11_000)
        settle(page, "2017-03-03")
        assert page.inner_text("#signals-note") == "28 Feb 2017"
        context.close()


def test_an_empty_host_says_what_to_do(browser, tmp_path):
    (tmp_path / "workspace.json").write_text("{}")
    with served(tmp_path) as address, page_of(browser, address) as page:
        page.wait_for_selector("#empty:not([hidden])")
        shown = page.inner_text("#empty")
        assert "Nothing has traded yet" in shown
        assert "sluice promote" in shown
        assert "sluice replay" in shown
