"""What lint says: one finding per rule, with what was seen and what to do about it."""

import html
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pipelines.pictures import ACCENT, LOSS, MUTED

Level: TypeAlias = Literal["fine", "note", "alarm"]

_MARK: dict[Level, tuple[str, str]] = {
    "fine": ("✓", ACCENT),
    "note": ("i", MUTED),
    "alarm": ("✗", LOSS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule's answer: a note is worth reading, an alarm says not to believe the figures."""

    rule: str
    level: Level
    seen: str  # one sentence with the numbers
    advice: str = ""  # what to do; empty when fine


def alarm(rule: str, seen: str, advice: str) -> Finding:
    """Return a rule's answer that the figures are not to be believed."""
    return Finding(rule=rule, level="alarm", seen=seen, advice=advice)


def note(rule: str, seen: str, advice: str) -> Finding:
    """Return a rule's answer that is worth reading."""
    return Finding(rule=rule, level="note", seen=seen, advice=advice)


def fine(rule: str, seen: str) -> Finding:
    """Return a rule's answer that nothing is amiss."""
    return Finding(rule=rule, level="fine", seen=seen)


@dataclass(frozen=True, slots=True)
class LintReport:
    """Every rule's answer, alarms first."""

    findings: tuple[Finding, ...]

    @property
    def alarms(self) -> tuple[str, ...]:
        """Return the rules that raised an alarm."""
        return tuple(one.rule for one in self.findings if one.level == "alarm")

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the rules that left a note."""
        return tuple(one.rule for one in self.findings if one.level == "note")

    def finding(self, rule: str) -> Finding:
        """Return one rule's answer; KeyError if there is no such rule."""
        for one in self.findings:
            if one.rule == rule:
                return one
        raise KeyError(rule)

    @property
    def headline(self) -> str:
        """Return the result in one sentence."""
        if not self.alarms:
            notes = f"; worth reading: {', '.join(self.notes)}" if self.notes else ""
            return f"No alarm from {len(self.findings)} rules{notes}."
        count = len(self.alarms)
        return (
            f"{count} alarm{'s' if count > 1 else ''} from {len(self.findings)} rules: "
            f"{', '.join(self.alarms)}."
        )

    def __repr__(self) -> str:
        width = max(len(one.rule) for one in self.findings)
        lines = [self.headline]
        for one in self.findings:
            lines.append(f"{_MARK[one.level][0]} {one.rule:<{width}}  {one.seen}")
            if one.advice:
                lines.append(f"  {'':<{width}}  -> {one.advice}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return (
            f"<p><strong>{html.escape(self.headline)}</strong></p><table><tbody>"
            + "".join(_row(one) for one in self.findings)
            + "</tbody></table>"
        )


def _row(one: Finding) -> str:
    mark, colour = _MARK[one.level]
    cell = "text-align:left;vertical-align:top;white-space:normal"
    advice = f"<br><em>{html.escape(one.advice)}</em>" if one.advice else ""
    return (
        f'<tr><td style="{cell};color:{colour};font-weight:bold" title="{one.level}">{mark}</td>'
        f'<td style="{cell};white-space:nowrap">{html.escape(one.rule)}</td>'
        f'<td style="{cell}">{html.escape(one.seen)}{advice}</td></tr>'
    )
