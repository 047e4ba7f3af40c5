"""Reading and writing the plan's file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ValidationError

from headrace.errors import ConfigError, PlanError
from headrace.plan.plan import FORMAT, Plan

__all__ = ["read_plan", "write_plan"]

_APPLY = "Run `headrace apply` to compile the feature repo."


def read_plan(path: Path) -> Plan:
    """Read the plan that ``headrace apply`` wrote.

    Args:
        path: The plan's file.

    Returns:
        The plan.

    Raises:
        PlanError: The file is missing, is not a plan, was edited by hand, or is of another version.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"There is no plan at {path}."
        raise PlanError(msg, hint=_APPLY) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        msg = f"The plan at {path} cannot be read: {error}."
        raise PlanError(msg, hint=_APPLY) from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        found = body.get("format") if isinstance(body, dict) else None
        msg = f"The plan at {path} has format {found!r}; this headrace reads format {FORMAT}."
        raise PlanError(msg, hint=_APPLY)
    written_hash = body.pop("hash", None)
    try:
        plan = Plan.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        msg_0 = f"The plan at {path} is not valid at {where}: {first['msg']}."
        raise PlanError(msg_0, hint=_APPLY) from error
    if written_hash != plan.hash:
        msg = f"The plan at {path} says hash {written_hash} but its content hashes to {plan.hash}: it was edited."
        raise PlanError(msg, hint=_APPLY)
    return plan


def write_plan(plan: Plan, path: Path) -> None:
    """Write the plan whole or not at all.

    Args:
        plan: The plan.
        path: Where to; the folder is made.

    Raises:
        ConfigError: The path cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(plan.model_dump_pretty(), encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)  # it is only there where it did not become the plan
    except OSError as error:
        hint = "Make the folder writable, or set `state` in headrace.toml to another one."
        msg = f"The plan cannot be written to {path}: {error}."
        raise ConfigError(msg, hint=hint) from error
