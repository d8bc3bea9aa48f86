"""The steps of a long command: live progress while one runs, one line with its time when done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

NAME_WIDTH = 11


class Step:
    """One step at work: how far it is, and what it found."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=None, note="")
        self.found = ""

    def expect(self, total: int) -> None:
        """Say how many parts there are."""
        self._progress.update(self._task, total=total)

    def advance(self, note: str = "") -> None:
        """Say that a part is done, and what it showed."""
        self._progress.update(self._task, advance=1, note=note)

    def at(self, done: int, total: int, note: str = "") -> None:
        """Say how many parts are done."""
        self._progress.update(self._task, completed=done, total=total, note=note)


class Steps:
    """Runs named steps one after the other and remembers how long each took."""

    def __init__(self, console: Console, seconds: Callable[[], float]) -> None:
        """Take the console to write on and a monotonic clock in seconds."""
        self._console, self._now = console, seconds
        self._began = seconds()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[Step]:
        """Run one step under a progress bar, then print what it found and its time."""
        began = self._now()
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        ) as progress:
            step = Step(progress, title)
            yield step
        taken = self._now() - began
        self.seconds[name] = round(self.seconds.get(name, 0.0) + taken, 3)
        self._console.print(
            f"[green]✓[/green] [bold]{name:<{NAME_WIDTH}}[/bold] {step.found or title}"
            f" [dim]{taken:.1f} s[/dim]",
            soft_wrap=True,
        )

    def total(self) -> dict[str, float]:
        """Return seconds by step, and since the beginning under "total"."""
        return self.seconds | {"total": round(self._now() - self._began, 3)}
