"""What can go wrong in research, each error named for what happened."""

from featurestore.errors import PlatformError


class ResearchError(PlatformError):
    """Root of research errors; the text says what was wrong, where, and what to do."""


class StudyInvalid(ResearchError):
    """A study's declaration contradicts itself, or a trial lies outside it."""


class StrategyInvalid(ResearchError):
    """A strategy cannot become a decision graph; the text names the cell and the remedy."""


class NotebookInvalid(ResearchError):
    """A notebook lacks a tagged cell, or its parameters are not the declared ones."""


class WorkspaceMissing(ResearchError):
    """No workspace was given or found."""


class CrossCheckFailed(ResearchError):
    """Two accountings of the same orders differ; neither is believed."""
