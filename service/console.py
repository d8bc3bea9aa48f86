"""What the command line prints and how it ends: tables for people, JSON for machines."""

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from featurestore.errors import PlatformError

if TYPE_CHECKING:
    from rich.console import Console

OK = 0
REFUSED = 1  # the platform says no: a verdict, a refused bundle, a broken chain
MISTAKE = 2  # what was typed or configured cannot be used

# By name, so that the live commands need not import the research floor to know its errors.
MISTAKES = frozenset(
    {
        "SettingsInvalid",
        "ServiceFault",  # NotFound, QueryInvalid, AddressTaken
        "NotebookInvalid",  # and ParameterInvalid below it
        "StudyInvalid",
        "StudyUnknown",
        "StrategyInvalid",
        "WorkspaceMissing",
        "ViewUnknown",
        "CalendarUnknown",
        "ScheduleUnknown",
        "ScheduleInvalid",
        "PolicyInvalid",
        "VenuesInvalid",
        "DatabaseUnavailable",
        "KeyUnusable",
    }
)


_REMEDIES = {
    errno.ENOSPC: "make room on its disk and repeat",
    errno.EDQUOT: "make room on its disk and repeat",
    errno.EACCES: "give this user the right to it and repeat",
    errno.EPERM: "give this user the right to it and repeat",
    errno.EROFS: "make its disk writable and repeat",
    errno.ENOENT: "name one that is there",
}


def exit_status(error: PlatformError) -> int:
    """Return 2 for a user's mistake, 1 for a refusal."""
    return MISTAKE if MISTAKES & {kind.__name__ for kind in type(error).__mro__} else REFUSED


class Output:
    """Where a command's answer goes: stdout as JSON, or to a reader through rich."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    @property
    def console(self) -> "Console":
        """Return the console for people; under --json it writes to stderr, stdout stays JSON."""
        from rich.console import Console

        return Console(stderr=self.as_json, highlight=False, soft_wrap=False)

    def say(self, sentence: str) -> None:
        """Print a sentence for people where the console would; rich is not loaded for it."""
        print(sentence, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def answer(self, value: Any, render: Callable[["Console"], None] | str) -> None:
        """Print `value` as one JSON document; else call `render` with the console, or say it."""
        if self.as_json:
            encoded = msgspec.json.encode(value)
            sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")
        elif isinstance(render, str):
            self.say(render)
        else:
            render(self.console)


@contextmanager
def reported(output: Output) -> Iterator[None]:
    """Turn a PlatformError into one sentence on stderr (JSON under --json) and an exit status.

    What the system itself refuses, a file without the right to it or a full disk, is one too.
    """
    try:
        yield
    except PlatformError as error:
        status = exit_status(error)
        _report(output, type(error).__name__, str(error), status)
        raise SystemExit(status) from None
    except BrokenPipeError:  # whoever read the answer has enough
        raise SystemExit(141) from None
    except OSError as error:
        _report(output, type(error).__name__, _told(error), MISTAKE)
        raise SystemExit(MISTAKE) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was recorded stays recorded\n")
        raise SystemExit(130) from None


def _report(output: Output, name: str, detail: str, status: int) -> None:
    import typer  # here: the processes that stay start without it

    if output.as_json:
        problem = {"error": name, "detail": detail, "exit": status}
        sys.stderr.write(msgspec.json.encode(problem).decode() + "\n")
        return
    word = "error" if status == MISTAKE else "refused"
    typer.secho(f"{word}: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    typer.echo(detail, err=True)


def _told(error: OSError) -> str:
    """Return in words what the system refuses, where, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    remedy = _REMEDIES.get(error.errno or 0, "see whether it is there and can be used")
    return f"{where}{error.strerror or error}; {remedy}"
