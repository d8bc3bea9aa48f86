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


class ScheduleInvalid(ResearchError):
    """A job cannot be kept: its cron expression, time zone, notebook or name; the text says why."""


class WorkspaceMissing(ResearchError):
    """No workspace was given or found."""


class CrossCheckFailed(ResearchError):
    """Two accountings of the same orders differ; neither is believed."""


class ParameterInvalid(NotebookInvalid):
    """A given parameter is not among the declared ones, or has another type; no kernel started."""


class TrialPruned(ResearchError):
    """Raised by a definition to give a configuration up early; the trial is recorded as pruned."""


class LedgerBroken(ResearchError):
    """The ledger's chain, its anchored head or a stored return series does not hold."""


class LedgerRefused(ResearchError):
    """An entry contradicts what the ledger already says; nothing was written."""


class HoldoutSpent(LedgerRefused):
    """The study's sealed holdout was looked at before; the text says by whom and when."""


class StudyUnknown(ResearchError):
    """The ledger knows no study of that name; the text lists those it knows."""


class EvidenceMissing(ResearchError):
    """A study has no completed trial to judge."""


class EvaluationUnrecorded(ResearchError):
    """Returns were asked for in a kernel or a run without a trial that records them."""


class SweepFailed(ResearchError):
    """A sweep could not start or go on; trials already recorded stay recorded."""


class PromotionRefused(ResearchError):
    """The gates do not let a study's candidate through; the text says which one and why."""


class RunFailed(ResearchError):
    """A notebook that had to succeed did not; the text names the cause and the log."""


class LabelInputInvalid(ResearchError):
    """Events, bars or label spans that cannot be labelled; the text names the event."""


class SplitInvalid(ResearchError):
    """A cross-validation that cannot be had of these labels; the text says why."""


class EventStudyInvalid(ResearchError):
    """Events or returns that no event study can be made of; the text names the event."""


class ModelInvalid(ResearchError):
    """A model cannot be trained, exported or called as declared; the text says what to change."""


class ExportDiffers(ModelInvalid):
    """An exported graph does not say what its model says; the text carries the differences."""


class AllocationInvalid(ResearchError):
    """Covariances, budgets or limits that contradict themselves; nothing was optimised."""


class OptimisationFailed(ResearchError):
    """Weights were asked of an optimisation that has none; the text says why it failed."""


class RiskInvalid(ResearchError):
    """A risk figure was asked of data that cannot give it; the text says what is missing."""


class WarmRefused(ResearchError):
    """Warm kernels cannot be had; the text says why, and kernels stay cold."""
