"""The program `sluice`: what stays is started at once, all else by the command line's library.

That library, and what it checks types with, take as long to load as the web framework. `serve` and
`trade` with their commonest options need neither, and nothing else is decided here: help, mistakes,
other options and other commands are `service.cli`'s, which means the same by these options.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_NAMES = {"--workspace": "workspace", "-w": "workspace", "--json": "json"}
_SERVE = _NAMES | {"--host": "host", "--port": "port"}
_TRADE = _NAMES | {"--delay": "delay"}
_HIGHEST = {"port": 65535, "delay": 10**6}  # and at least 1


def plainly(arguments: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """Return the command that stays and its options, None if that is for the library to say."""
    command, *words = arguments or [""]
    names = {"serve": _SERVE, "trade": _TRADE}.get(command)
    if names is None:
        return None
    options: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        name = names.get(word)
        if name is None:
            return None
        value = True if name == "json" else _value(name, next(rest, ""))
        if value is None:
            return None
        options[name] = value
    return command, options


def _value(name: str, text: str) -> Path | str | int | None:
    """Return what an option is set to, None if that takes more than a look."""
    if not text or text.startswith("-"):
        return None
    if name == "workspace":
        return Path(text)
    if name == "host":
        return text
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else 0
    return number if 1 <= number <= _HIGHEST[name] else None


def main() -> None:
    """Run the program."""
    plain = plainly(sys.argv[1:])
    if plain is None:
        from service.cli import app

        app()
    else:
        from service.commands import staying

        starts: dict[str, Callable[..., None]] = {"serve": staying.serve, "trade": staying.trade}
        command, options = plain
        starts[command](**options)


if __name__ == "__main__":
    main()
