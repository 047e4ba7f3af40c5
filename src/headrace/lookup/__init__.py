"""The lookup path: (view, key) → partials of all source partitions → merge → features at now."""

from headrace.lookup.client import FeatureClient
from headrace.lookup.response import OnlineFeatures, Status, ViewAnswer

__all__ = ["FeatureClient", "OnlineFeatures", "Status", "ViewAnswer"]
