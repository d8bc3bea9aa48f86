"""The hub, as a person meets it: sign in, open the momentum notebook, run it, find the trial."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from playwright.sync_api import sync_playwright

from pipelines.workspace import Workspace, open_workspace
from tests.hub.client import (
    ROOT,
    Kernel,
    RunningHub,
    descendants,
    mint_token,
    running_hub,
    sign_in,
    start_kernel,
    start_server,
    wait_until_gone,
    with_token,
)

MOMENTUM = "strategies/momentum.ipynb"
ALICE_ALONE = ["access:servers!user=alice", "servers!user=alice", "read:users!user=alice"]


@dataclass(frozen=True, kw_only=True)
class Alice:
    """A person whose server runs, with a token that opens that server and nothing else."""

    hub: RunningHub
    token: str
    api: httpx.Client


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, market_lake: Any) -> Iterator[RunningHub]:
    folder = tmp_path_factory.mktemp("hub")
    Workspace(folder, lake_url=market_lake.fresh_url(), snapshot=market_lake.snapshot).save()
    with running_hub(folder) as started:
        yield started


@pytest.fixture(scope="module")
def alice(hub: RunningHub) -> Iterator[Alice]:
    token = mint_token(hub, "alice", ALICE_ALONE)
    with with_token(hub, token) as api:
        start_server(hub, api, "alice")
        yield Alice(hub=hub, token=token, api=api)


def test_a_wrong_password_is_refused_and_the_right_one_is_not(hub):
    with closing(sign_in(hub, "bob", "not the password")) as refused:
        assert refused.get("/hub/api/user").status_code == 403
    with closing(sign_in(hub, "bob", hub.password)) as welcome:
        assert welcome.get("/hub/api/user").json()["name"] == "bob"


def test_alices_server_is_closed_without_her_token(alice):
    contents = f"/user/alice/api/contents/{MOMENTUM}"
    with with_token(alice.hub, "no-such-token") as stranger:
        assert stranger.get(contents).status_code == 403
    bobs = mint_token(alice.hub, "bob", ["access:servers!user=bob"])
    with with_token(alice.hub, bobs) as bob:
        assert bob.get(contents).status_code == 403
    assert alice.api.get(contents).status_code == 200


def test_the_momentum_notebook_run_in_a_hub_kernel_leaves_its_trial_in_the_ledger(alice):
    original = ROOT / "notebooks" / MOMENTUM
    before = original.read_bytes()
    ledger = open_workspace(alice.hub.workspace, environ={}).ledger()
    assert ledger.studies() == ()

    notebook = alice.api.get(f"/user/alice/api/contents/{MOMENTUM}").json()["content"]
    kernel_id = start_kernel(alice.api, "alice", MOMENTUM)
    shown = []
    with Kernel(alice.hub, alice.token, "alice", kernel_id) as kernel:
        (told,) = kernel.run("import os\nprint(os.environ['SLUICE_RUN'], end='')")
        run = ledger.run(told["text"])  # it stands before the kernel's first cell has ended
        assert (run.opened.kind, run.opened.by, run.opened.kernel) == ("kernel", "alice", kernel_id)
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                shown += kernel.run(cell["source"])

    (trial,) = ledger.trials("momentum")
    assert trial.status == "complete"
    assert trial.attempts == 1
    assert trial.run == run.opened.run, "the kernel was on record before its first cell"
    assert {lease.run for _, lease in ledger.reads.leases()} == {run.opened.run}
    assert alice.api.delete(f"/user/alice/api/kernels/{kernel_id}").status_code == 204
    assert ledger.run(run.opened.run).status == "complete"
    assert ledger.returns(trial.key).net.size > 5000, "a daily return of each session since 1991"
    ledger.verify()
    assert any("image/png" in output.get("data", {}) for output in shown), "it draws plots"
    assert original.read_bytes() == before, "the repository's notebook stays clean"


def test_lab_opens_the_notebook_in_chromium_and_asks_no_other_host(alice, tmp_path):
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing; `just test` installs the system package"
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{alice.hub.address}/hub/user-redirect/lab/tree/{MOMENTUM}")
        page.fill("#username_input", "alice")
        page.fill("#password_input", alice.hub.password)
        page.click("#login_submit")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=30_000)
        page.screenshot(path=tmp_path / "lab.png")
        assert page.get_by_text("Jupyter news").count() == 0
        assert page.locator(".jp-Dialog").count() == 0, "no question before the notebook"
        browser.close()
    strangers = {url for url in asked if not url.startswith((alice.hub.address, "data:", "blob:"))}
    assert len(asked) > 50
    assert strangers == set()


def test_killing_the_starter_ends_the_hub_and_its_proxy(tmp_path):
    with running_hub(tmp_path) as started:
        family = descendants(started.pid)
        assert len(family) >= 2, "the hub and its proxy"
        os.kill(started.pid, signal.SIGKILL)
        assert wait_until_gone(family) == set()
