"""On-demand views made without Feast: a function's text in a file, and the view that the plan has of it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.ondemand import read_function
from headrace.plan import Column, DType, FeatureRef, OnDemandInput, OnDemandView

__all__ = ["columns", "on_demand_view", "write_files"]


def write_files(repo: Path, **files: str) -> Path:
    """Write modules into a feature repo."""
    for name, text in files.items():
        file = repo / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    return repo


def columns(types: Mapping[str, DType]) -> tuple[Column, ...]:
    return tuple(Column(name=name, dtype=dtype) for name, dtype in types.items())


def on_demand_view(
    repo: Path,
    function: str,
    features: Mapping[str, DType],
    *,
    inputs: Mapping[str, DType] | None = None,
    request: Mapping[str, DType] | None = None,
    name: str = "computed",
    **more: Any,
) -> OnDemandView:
    """A view of a function in the repo, `module:name`; inputs are named `view:feature`."""
    read = [
        OnDemandInput(ref=FeatureRef(view=ref.split(":")[0], feature=ref.split(":")[1]), dtype=dtype)
        for ref, dtype in (inputs or {}).items()
    ]
    given = {"mode": "python", **more}
    return OnDemandView(
        name=name,
        inputs=tuple(read),
        request=columns(request or {}),
        features=columns(features),
        function=function,
        code=read_function(function, repo).code,
        **given,
    )
