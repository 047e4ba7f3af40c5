"""On-demand views: features that a function computes from a request's fields and from other features."""

from headrace.ondemand.computation import Computation, Computed
from headrace.ondemand.example_rows import example_inputs
from headrace.ondemand.function_loading import load_function
from headrace.ondemand.function_source import FunctionSource, read_function
from headrace.ondemand.inputs import Inputs
from headrace.ondemand.outputs import WrongResultError
from headrace.ondemand.request_fields import field_of_record, field_of_rows, field_of_spine

__all__ = [
    "Computation",
    "Computed",
    "FunctionSource",
    "Inputs",
    "WrongResultError",
    "example_inputs",
    "field_of_record",
    "field_of_rows",
    "field_of_spine",
    "load_function",
    "read_function",
]
