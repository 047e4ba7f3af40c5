"""Reading and writing the plan's file."""

from __future__ import annotations

import json

from pydantic import ValidationError

from headrace.errors import ConfigError, PlanError
from headrace.plan.plan import FORMAT, Plan
from headrace.state import StateFile

__all__ = ["read_plan", "write_plan"]

_APPLY = "Run `headrace apply` to compile the feature repo."


def read_plan(file: StateFile) -> Plan:
    """Read the plan that ``headrace apply`` wrote.

    Args:
        file: Where it is stored, such as `Project.plan_file`.

    Returns:
        The plan.

    Raises:
        PlanError: The file is missing, is not a plan, was edited by hand, or is of another version.
    """
    try:
        stored = file.read()
        body = None if stored is None else json.loads(stored.data.decode("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        msg = f"The plan at {file} cannot be read: {error}."
        raise PlanError(msg, hint=_APPLY) from error
    if stored is None:
        msg = f"There is no plan at {file}."
        raise PlanError(msg, hint=_APPLY)
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        found = body.get("format") if isinstance(body, dict) else None
        msg = f"The plan at {file} has format {found!r}; this headrace reads format {FORMAT}."
        raise PlanError(msg, hint=_APPLY)
    written_hash = body.pop("hash", None)
    try:
        plan = Plan.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        msg_0 = f"The plan at {file} is not valid at {where}: {first['msg']}."
        raise PlanError(msg_0, hint=_APPLY) from error
    if written_hash != plan.hash:
        msg = f"The plan at {file} says hash {written_hash} but its content hashes to {plan.hash}: it was edited."
        raise PlanError(msg, hint=_APPLY)
    return plan


def write_plan(plan: Plan, file: StateFile) -> None:
    """Write the plan whole or not at all.

    Args:
        plan: The plan.
        file: Where to store it.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        file.write(plan.model_dump_pretty().encode())
    except OSError as error:
        hint = "Make the folder writable, or set `state` in headrace.toml to another one."
        msg = f"The plan cannot be written to {file}: {error}."
        raise ConfigError(msg, hint=hint) from error
