"""The shop of `tests.lookup`, as a project with a filled store, and a server of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.plan import Plan, write_plan
from headrace.state import LocalState
from headrace.stores import open_store
from tests.lookup.conftest import PLAN, fill, order, serving
from tests.serving.server_process import ServerProcess


def make_project(folder: Path, store: str = "lmdb", plan: Plan = PLAN) -> Path:
    """A project whose store has some orders of the shops a and b, and refunds of a."""
    folder.mkdir(exist_ok=True)
    (folder / "headrace.toml").write_text(f'[headrace]\nclock = "record"\nstore = "{store}"\n')
    apply_plan(folder, plan)
    url = f"lmdb:{folder / '.headrace' / 'online'}" if store == "lmdb" else store
    with open_store(url, writable=True) as opened:
        opened.change(serving(plan))
        fill(opened, order(100), order(130, price=2.5), order(140, shop="b", price=float("inf"), buyer=2**60))
        fill(opened, order(120), source="refunds")
    return folder


def apply_plan(folder: Path, plan: Plan) -> None:
    """What `headrace apply` does last."""
    write_plan(plan, LocalState(folder / ".headrace").file("plan.json"))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that no test changes."""
    return make_project(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def server(shop: Path) -> Iterator[ServerProcess]:
    """A server of it with the limits that servers have."""
    with ServerProcess(shop) as started:
        yield started.wait_ready()


@pytest.fixture
def own_shop(shop: Path, tmp_path: Path) -> Path:
    """A project that the test may change."""
    shutil.copytree(shop / ".headrace", tmp_path / ".headrace", ignore=shutil.ignore_patterns("*.lock", "lock.mdb"))
    shutil.copy(shop / "headrace.toml", tmp_path / "headrace.toml")
    return tmp_path


@pytest.fixture
def serve(own_shop: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers of the project that the test may change, and stops them at its end."""
    started: list[ServerProcess] = []

    def start(*options: str) -> ServerProcess:
        started.append(ServerProcess(own_shop, *options))
        return started[-1].__enter__().wait_ready()

    yield start
    for one in started:
        one.stop()
