"""Tells a receiver: through the library apprise, or into the log."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from runtime.alerts.alert import Alert
from runtime.errors import (
    EscalationInvalid,
    NoticeFailed,
    SecretForbidden,
    SecretMissing,
    SecretUnavailable,
)
from runtime.secrets.source import SCHEME

LOG_ADDRESS = "log:"
log = logging.getLogger("sluice.alerts")


class Notifier(Protocol):
    """A way to people."""

    def tell(self, receiver: str, alert: Alert, *, level: int) -> None:
        """Tell one receiver; NoticeFailed if it was not delivered, and may be tried again."""
        ...


def worded(alert: Alert, level: int) -> tuple[str, str]:
    """Return title and text of a notice."""
    again = f" (not answered, level {level})" if level else ""
    lines = [
        alert.detail,
        f"since {alert.raised_at:%Y-%m-%d %H:%M:%S} UTC, seen {alert.seen} times",
        f"take it with: sluice alerts ack {alert.id} --by NAME",
    ]
    return f"[{alert.severity}] {alert.title}{again}", "\n".join(line for line in lines if line)


@dataclass(frozen=True, slots=True)
class AppriseNotifier:
    """Sends through apprise: e-mail, Slack, webhooks, PagerDuty, Opsgenie and more.

    Addresses are looked up at each sending, so that a rotated secret is used at once.
    """

    receivers: Mapping[str, str] = field(repr=False)  # name -> address or reference
    resolve: Callable[[str], str] = field(repr=False)  # a reference becomes an address
    timeout: int = 8  # seconds

    def check(self) -> dict[str, str]:
        """Refuse addresses that nothing can be sent to.

        Returns:
            Receiver -> why its address is not known now: it refers to a secret that cannot be had.
            After the first that waited for a source in vain, the others are not asked for.

        Raises:
            EscalationInvalid: an address that is known cannot be used; the text names its receiver.
        """
        unknown: dict[str, str] = {}
        away = ""
        for name, address in self.receivers.items():
            if away and address.startswith(SCHEME):
                unknown[name] = away
                continue
            try:
                self._target(name)
            except SecretUnavailable as error:
                away = unknown[name] = str(error)
            except (SecretMissing, SecretForbidden) as error:
                unknown[name] = str(error)
        return unknown

    def tell(self, receiver: str, alert: Alert, *, level: int) -> None:
        """Send one notice and wait until it was taken."""
        title, text = worded(alert, level)
        address = self.resolve(self.receivers[receiver])
        if address == LOG_ADDRESS:
            log.error("%s: %s", title, text.replace("\n", "; "))
            return
        import apprise

        sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="Sluice"))
        if not sender.add(self._target(receiver)):
            raise NoticeFailed(f"{receiver} has no address that a notice can be sent to")
        kind = apprise.NotifyType.FAILURE if alert.open else apprise.NotifyType.SUCCESS
        if not sender.notify(body=text, title=title, notify_type=kind, timeout=self.timeout):
            raise NoticeFailed(f"{receiver} was not reached")

    def _target(self, receiver: str) -> Any:
        address = self.resolve(self.receivers[receiver])
        if address == LOG_ADDRESS:
            return LOG_ADDRESS
        import apprise

        target = apprise.Apprise.instantiate(address, suppress_exceptions=True)
        if target is None:
            # The address may hold a token, so only its kind is repeated.
            raise EscalationInvalid(
                f"receiver {receiver}: its address ({address.partition(':')[0]}:...) is not one"
                " that apprise knows; write e.g. slack://..., mailtos://..., pagerduty://..."
            )
        return target
