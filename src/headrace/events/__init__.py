"""Events: the pydantic models that describe them, and their columns."""
