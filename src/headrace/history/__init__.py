"""The point-in-time join: what every feature was, at each row of a spine, recomputed from the log by DuckDB."""

from headrace.extras import needing

with needing("offline"):
    from headrace.history.join import Joined, PointInTimeJoin
    from headrace.history.join_plan import AsOf
    from headrace.history.spine_rows import moments_us

__all__ = ["AsOf", "Joined", "PointInTimeJoin", "moments_us"]
