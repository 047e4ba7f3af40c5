"""Audits: recorded lookups are recomputed from the log by their evidence, and compared."""

from headrace.extras import needing

with needing("offline"):
    from headrace.audit.audit_lookups import audit_lookups, since_us
    from headrace.audit.not_comparable import NotComparable
    from headrace.audit.report import AuditReport, Skew

__all__ = ["NotComparable", "AuditReport", "Skew", "audit_lookups", "since_us"]
