"""Compiled feature definitions: pydantic models, JSON, content-hashed."""

from headrace.plan.asked import AskedFeatures
from headrace.plan.files import read_plan, write_plan
from headrace.plan.model import Column, DType, Feature, FeatureRef, Plan, Source, Transform, View

__all__ = [
    "AskedFeatures",
    "Column",
    "DType",
    "Feature",
    "FeatureRef",
    "Plan",
    "Source",
    "Transform",
    "View",
    "read_plan",
    "write_plan",
]
