"""Lookups: (view, key) → records of all source partitions → merge → features at a time."""

from headrace.lookup.client import FeatureClient
from headrace.lookup.response import OnlineFeatures, Status, ViewAnswer

__all__ = ["FeatureClient", "OnlineFeatures", "Status", "ViewAnswer"]
