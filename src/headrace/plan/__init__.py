"""Compiled feature definitions: pydantic models, JSON, content-hashed."""

from headrace.plan.feature_references import AskedFeatures
from headrace.plan.model import Column, DType, Feature, FeatureRef, Plan, Source, Transform, View
from headrace.plan.plan_files import read_plan, write_plan

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
