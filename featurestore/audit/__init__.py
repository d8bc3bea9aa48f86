"""The leak audit: does anything know more than was known at its time?"""

from featurestore.audit.findings import AuditReport, Leak
from featurestore.audit.functions import audit_feature, checked_rows, outside_data
from featurestore.audit.joins import audit_join, canaries
from featurestore.audit.labels import audit_split
from featurestore.audit.reads import audit_reads, audit_view
from featurestore.audit.truncation import audit_truncation

__all__ = [
    "AuditReport",
    "Leak",
    "audit_feature",
    "audit_join",
    "audit_reads",
    "audit_split",
    "audit_truncation",
    "audit_view",
    "canaries",
    "checked_rows",
    "outside_data",
]
