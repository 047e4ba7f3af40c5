"""Proof in production: what was served is recomputed from the log by its evidence, and compared."""

from headrace.extras import needing

with needing("offline"):
    from headrace.audit.apart import Apart
    from headrace.audit.report import AuditReport, Skew
    from headrace.audit.run import audit_lookups, since_us

__all__ = ["Apart", "AuditReport", "Skew", "audit_lookups", "since_us"]
