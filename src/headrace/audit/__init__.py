"""Proof in production: what was served is recomputed from the log by its evidence, and compared."""

from headrace.extras import needing

with needing("offline"):
    from headrace.audit.audit_lookups import audit_lookups, since_us
    from headrace.audit.not_comparable import Apart
    from headrace.audit.report import AuditReport, Skew

__all__ = ["Apart", "AuditReport", "Skew", "audit_lookups", "since_us"]
