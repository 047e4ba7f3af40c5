"""Aggregates, one per file. They do no I/O, read no clock and know nothing of Kafka."""

from headrace.aggregates.base import Aggregate, Array, At, BoolArray, IntArray, Order, State, StateColumn, Values
from headrace.aggregates.cell_problems import NO_PROBLEMS, Cells, Problem, cells_of, off_calendar
from headrace.aggregates.registry import AGGREGATES, ALIASES, aggregate_of, canonical_name, parse_function

__all__ = [
    "AGGREGATES",
    "ALIASES",
    "NO_PROBLEMS",
    "Aggregate",
    "Array",
    "At",
    "BoolArray",
    "Cells",
    "IntArray",
    "Order",
    "Problem",
    "State",
    "StateColumn",
    "Values",
    "aggregate_of",
    "canonical_name",
    "cells_of",
    "off_calendar",
    "parse_function",
]
