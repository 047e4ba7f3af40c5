"""Compiled feature definitions: pydantic models with a content hash, kept as JSON."""

from headrace.plan.batch_view import BatchSource, BatchView
from headrace.plan.feature import Feature, FeatureRef, Transform
from headrace.plan.feature_references import AskedFeatures
from headrace.plan.on_demand_view import OnDemandInput, OnDemandView
from headrace.plan.plan import Plan
from headrace.plan.plan_files import read_plan, write_plan
from headrace.plan.source import Source
from headrace.plan.types import Column, DType
from headrace.plan.view import View

__all__ = [
    "AskedFeatures",
    "BatchSource",
    "BatchView",
    "Column",
    "DType",
    "Feature",
    "FeatureRef",
    "OnDemandInput",
    "OnDemandView",
    "Plan",
    "Source",
    "Transform",
    "View",
    "read_plan",
    "write_plan",
]
