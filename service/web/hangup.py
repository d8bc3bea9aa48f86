"""SIGHUP reads the policy file again; the process goes on whatever comes of it."""

import logging
from threading import Thread

from featurestore.errors import PlatformError
from service.operator.policies import Policies

LOG = logging.getLogger("sluice.policy")


def reload_policy(policies: Policies) -> str:
    """Read the file again and return in one sentence what came of it."""
    try:
        done = policies.reload(by="SIGHUP", why="signal")
    except PlatformError as error:
        LOG.error("the policy was not read: %s", error)
        return f"the policy was not read: {error}"
    name = f"policy {done.active.number} ({done.active.hash[:12]})"
    if done.refused:
        LOG.warning("%s stays in force: %s", name, done.refused)
        return f"{name} stays in force: {done.refused}"
    said = f"{name} is in force" if done.changed else f"{name} is unchanged"
    LOG.info(said)
    return said


def reload_in_background(policies: Policies) -> Thread:
    """Read the file on a thread of its own, as a signal handler must not wait for a database.

    The process ends after it: a thread that is cut off while it logs takes the interpreter down.
    """
    thread = Thread(target=reload_policy, args=(policies,), name="policy reload")
    thread.start()
    return thread
