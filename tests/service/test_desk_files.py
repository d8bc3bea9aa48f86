"""The page's own files: complete, packaged, and asking for nothing that lies elsewhere."""

from __future__ import annotations

import re
import time

import pytest
from litestar.testing import TestClient

from service.app import create_app
from service.desk import assets
from service.settings import read_settings
from service.wiring import open_live

TEXTS = [name for name in assets() if not name.endswith(".woff2")]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    settings = read_settings({}, workspace=tmp_path_factory.mktemp("desk") / "ws")
    with TestClient(create_app(open_live(settings, monotonic=time.monotonic))) as client:
        yield client


@pytest.mark.parametrize("name", [name for name in TEXTS if not name.endswith(".txt")])
def test_no_file_names_another_host(name):
    addresses = re.findall(r"(?:https?:)?//[a-z][\w.-]+", assets()[name].content.decode())
    assert set(addresses) <= {"http://www.w3.org"}  # the name of SVG, which nothing fetches


def test_every_file_that_the_page_names_is_served(client):
    page = client.get("/").text
    named = set(re.findall(r'(?:href|src)="(/desk/[^"]+)"', page))
    modules = {f"/desk/{name}" for name in TEXTS if name.endswith(".js")}
    imported = {
        f"/desk/{found}"
        for name in modules
        for found in re.findall(r'from "\./([\w.]+)"', client.get(name).text)
    }
    assert "/desk/desk.js" in named
    assert modules == imported | {"/desk/desk.js"}
    for path in named | imported:
        assert client.get(path).status_code == 200, path


def test_a_file_is_not_sent_twice_to_a_browser_that_has_it(client):
    first = client.get("/desk/desk.css")
    again = client.get("/desk/desk.css", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


@pytest.mark.parametrize("name", ["../app.py", "..%2Fapp.py", "%2e%2e/settings.py", "none.js"])
def test_nothing_beside_the_page_s_files_can_be_fetched(client, name):
    assert client.get(f"/desk/{name}").status_code in (404, 400)


def test_the_typefaces_come_with_their_licence():
    licence = assets()["fonts.LICENSE.txt"].content.decode()
    assert licence.count("SIL Open Font License") >= 2
