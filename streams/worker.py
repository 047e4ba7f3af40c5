"""This deployment's worker: `headrace stream`, or with Faust's own options `faust -A streams.worker worker -l info`."""

from __future__ import annotations

from pathlib import Path

from headrace.config import Project
from headrace.worker import create_app

app = create_app(Project.load(Path(__file__).parent))
