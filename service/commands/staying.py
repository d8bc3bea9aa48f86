"""The two processes that stay, `sluice serve` and `sluice trade`, from what was typed to their end.

How soon they answer counts, so nothing here needs the library of the command line.
"""

from pathlib import Path

from service.commands.opening import settings_of
from service.console import OK, Output, reported


def serve(
    *,
    workspace: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    json: bool = False,
) -> None:
    """Serve until interrupted; what is None is taken from the environment."""
    output = Output(as_json=json)
    with reported(output):
        from dataclasses import replace

        from runtime.memory import starting

        with starting():
            from service.commands.serve import serve as start

        settings = settings_of(workspace)
        start(
            replace(settings, host=host or settings.host, port=port or settings.port),
            output,
        )


def trade(
    *,
    workspace: Path | None = None,
    delay: int = 5,
    late: float | None = None,
    json: bool = False,
) -> None:
    """Trade until interrupted; SystemExit with the status if that is not 0.

    Args:
        workspace: the environment's, if None.
        delay: minutes between a close and its tick.
        late: hours for which a missed session is still run; as long as the driver says if None.
        json: whether answers go out as JSON documents.
    """
    output = Output(as_json=json)
    with reported(output):
        from runtime.bundles.child import start_ahead
        from runtime.memory import starting
        from service.settings import require_records

        settings = settings_of(workspace)
        require_records(settings)
        start_ahead()  # what proves the bundle loads beside what trades it
        with starting():
            from service.commands.trade import trade as start

        status = start(settings, output, delay_minutes=delay, late_hours=late)
        if status != OK:
            raise SystemExit(status)
