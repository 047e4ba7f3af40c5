"""The old name of `headrace.worker`, kept until version 0.3 for projects that `headrace init` made before 0.2."""

from __future__ import annotations

import warnings

from headrace.worker import create_app

__all__ = ["create_app"]

warnings.warn("headrace.stream is now headrace.worker; import create_app from there.", DeprecationWarning, stacklevel=2)
