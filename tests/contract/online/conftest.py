"""The online store in this process, in a shared file and on Valkey."""

from collections.abc import Callable

import pytest

from featurestore.online import OnlineStore, open_online


@pytest.fixture(params=["memory", "file", "valkey"])
def another(request: pytest.FixtureRequest, tmp_path) -> Callable[[], OnlineStore]:
    """Opens the store; where storage is shared, a second call opens the same one again."""
    if request.param == "memory":
        only = open_online("memory://")
        return lambda: only
    if request.param == "file":
        return lambda: open_online(f"file://{tmp_path / 'online.bin'}")
    url = request.getfixturevalue("valkey_url")
    return lambda: open_online(url, name="contract")


@pytest.fixture
def online(another) -> OnlineStore:
    return another()
