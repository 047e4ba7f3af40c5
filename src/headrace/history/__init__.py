"""The point-in-time join: what every feature was, at each row of a spine, recomputed from the log."""

from headrace.extras import needing

with needing("offline"):
    from headrace.history.join import Joined, PointInTimeJoin, as_of_named
    from headrace.history.join_plan import AsOf
    from headrace.history.spine_rows import spine_times_us

__all__ = ["AsOf", "Joined", "PointInTimeJoin", "as_of_named", "spine_times_us"]
