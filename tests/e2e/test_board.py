"""The board of studies in real headless Chromium, served as `sluice board` serves it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pipelines import board
from pipelines.grid import submit_crossovers, window_pairs
from pipelines.study import Period
from pipelines.workspace import Workspace
from runtime.clock import ReplayClock
from tests.fakes.studies import small_study
from tests.servers import free_port

sync_api = pytest.importorskip("playwright.sync_api")
ROOT = Path(__file__).resolve().parents[2]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
STUDIES = {"crossing": range(2, 30, 6), "other": range(5, 21, 5)}
pytestmark = pytest.mark.skipif(not Path(BROWSER).exists(), reason="no Chromium on this host")


@pytest.fixture(scope="module")
def place(tmp_path_factory, market_lake) -> Workspace:
    workspace = Workspace(
        tmp_path_factory.mktemp("board"),
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
        clock=ReplayClock(datetime(2024, 5, 1, tzinfo=UTC)),
    )
    for name, windows in STUDIES.items():
        chosen = tuple(windows)
        # Years apart: studies of the same years and cell are one question and count together.
        years = {"crossing": (2001, 2002, 2003), "other": (1996, 1997, 1998)}[name]
        study = small_study(
            name=name,
            research=Period(start=date(years[0], 1, 2), end=date(years[1], 12, 31)),
            holdout=Period(start=date(years[2], 1, 2), end=date(years[2], 12, 31)),
            search_space={"fast": chosen, "slow": chosen},
        )
        submit_crossovers(study, window_pairs(chosen), workspace=workspace)
    workspace.save()
    return workspace


@pytest.fixture(scope="module")
def address(place) -> Iterator[str]:
    """Serve the board; yield the address it prints, token included, once it answers."""
    port = free_port()
    words = ["board", "-w", place.path, "--port", str(port), "--json"]
    child = subprocess.Popen(
        [sys.executable, "-m", "service.cli", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")},
    )
    assert child.stdout is not None
    try:
        said = ""
        while "}" not in said:
            said += child.stdout.readline()
        told = json.loads(said)["address"]
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=20).close()
                break
            except OSError:
                assert child.poll() is None, "the board ended"
                assert time.monotonic() < deadline, "the board does not answer"
                time.sleep(0.1)
        yield told
    finally:
        child.terminate()
        status = child.wait(timeout=60)
    assert status == 0, "SIGTERM is an orderly end"


def test_without_its_token_the_board_asks_for_it_and_shows_nothing(address):
    bare = address.partition("?")[0]
    for asked in (bare, f"{bare}?access_token=wrong"):
        with urllib.request.urlopen(asked, timeout=60) as reply:
            assert "/auth/login" in reply.geturl()
            assert b"crossing" not in reply.read()


def test_the_board_shows_every_study_its_luck_and_its_equity_and_asks_no_other_host(address, place):
    ledger = place.ledger()
    best = {name: board.sharpe_distribution(ledger.evidence(name)).words for name in STUDIES}
    assert best["crossing"] != best["other"]
    host = address.partition("?")[0]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1100, "height": 1400})
        elsewhere: list[str] = []
        page.on("request", lambda asked: _kept(elsewhere, asked.url, host))
        page.goto(address)
        page.wait_for_selector("text=All of them through time", timeout=90_000)
        page.wait_for_function("document.querySelectorAll('img[alt]').length >= 3", timeout=60_000)
        shown = page.inner_text("body")
        assert "crossing" in shown
        assert "10 complete" in shown
        words = page.eval_on_selector_all("img[alt]", "all => all.map(one => one.alt)")
        assert best["crossing"] in words
        page.locator("select").first.select_option("other")
        page.wait_for_function(
            "said => [...document.querySelectorAll('img[alt]')].some(one => one.alt === said)",
            arg=best["other"],
            timeout=60_000,
        )
        shots = os.environ.get("SLUICE_SHOTS")
        if shots:
            page.screenshot(path=f"{shots}/board.png", full_page=True)
        browser.close()
    assert elsewhere == []


def _kept(elsewhere: list[str], url: str, host: str) -> None:
    local = url.startswith((host, host.replace("http", "ws", 1), "data:", "blob:"))
    if not local:
        elsewhere.append(url)
