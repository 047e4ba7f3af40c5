"""A project that `headrace init` made works: its own tests, and the commands of its README."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.scaffold import TEMPLATES, scaffold
from headrace.config import Project
from headrace.events.repo_modules import own_modules
from headrace.kafka import EmbeddedBroker
from tests.commands import Commands

pytestmark = pytest.mark.slow


class NewProject(Commands):
    """A new project, and the commands run in it."""

    def __init__(self, root: Path, template: str) -> None:
        scaffold(root, template=template)
        self.root = root

    @property
    def variables(self) -> dict[str, str]:
        return {"HEADRACE_PROJECT": str(self.root)}

    @property
    def folder(self) -> Path:
        return self.root

    def apply(self) -> None:
        """The first apply, which has nothing to warn of."""
        ended = self.end("apply", "--json")
        assert ended.code == 0, ended.err
        assert json.loads(ended.out)["warnings"] == []
        assert "not tried" not in ended.err

    @contextmanager
    def broker(self) -> Iterator[None]:
        with self.start("dev") as process:
            try:
                assert process.stdout is not None
                assert any("Topics: orders" in line for line in process.stdout)
                yield
            finally:
                process.terminate()
                process.communicate(timeout=30)
        assert process.returncode == 0

    def readme(self) -> list[list[str]]:
        """The commands of the README, in order."""
        lines = (self.root / "README.md").read_text().splitlines()
        commands = [line.partition("#")[0].split() for line in lines if line.startswith("    ")]
        assert commands.pop(0) == ["cd", self.root.name]
        assert commands.pop() == ["pytest"]
        assert all(program == "headrace" for program, *_ in commands)
        return [arguments for _, *arguments in commands]


@pytest.mark.parametrize("template", TEMPLATES)
def test_projects_own_tests_pass_as_a_user_runs_them(tmp_path: Path, template: str) -> None:
    """Warnings are errors there too: what libraries warn of must not reach a user's pytest."""
    scaffold(tmp_path / "made", template=template)
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(pytest_, cwd=tmp_path / "made", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_sensors_go_from_events_to_features_and_a_dataset(tmp_path: Path) -> None:
    plant = NewProject(tmp_path / "plant", "sensors")
    plant.apply()
    project = Project.load(plant.root)
    with EmbeddedBroker(project.broker_state_path):
        sent = plant.json("produce", "readings")["sent"]
        assert plant.json("stream", "--until-end")["events"] == sent > 20_000
        answer = plant.json("lookup", "--service", "overheating_model", "--key", "device_id=d03", "--key", "site=roof")
        assert all(value is not None for value in answer["features"].values())
        rows = sum(split["rows"] for split in plant.json("dataset", "build", "overheating_model")["splits"].values())
        assert rows == 15 * 24 * 5
        assert plant.json("dataset", "verify", str(project.state / "datasets" / "overheating_model"))["ok"]


@pytest.mark.kafka
def test_shop_works_by_the_commands_of_its_readme(tmp_path: Path) -> None:
    shop = NewProject(tmp_path / "my-shop", "shop")
    commands = shop.readme()
    assert [command[0] for command in commands[:2]] == ["apply", "dev"]
    shop.apply()
    with shop.broker():
        for command in commands[2:]:
            shop.run(*command)
        shop.run("stream", "--until-end")
        status = shop.json("status")
        found = shop.json("lookup", "--key", "customer_id=c001", "--key", "category=books")
        program = "import streams.worker; assert streams.worker.app.conf.id"
        subprocess.run([sys.executable, "-c", program], cwd=shop.root, check=True)
    assert {row["lag"] for row in status["partitions"]} == {0}
    with own_modules(shop.root, fresh=True):
        orders: list[dict[str, Any]] = importlib.import_module("streams.orders").history()
    assert_as_ordered(found, orders[: sum(row["applied"] for row in status["partitions"])])
    manifest = json.loads((shop.root / ".headrace" / "datasets" / "reorder_model" / "manifest.json").read_text())
    rows = {file["split"]: file["rows"] for file in manifest["files"]}
    assert min(rows["train"], rows["test"]) > 300
    assert not shop.json("plan")["changes"]


def assert_as_ordered(found: dict[str, Any], orders: list[dict[str, Any]]) -> None:
    """A lookup of c001 and books tells what the orders sent so far say, counted here once more."""
    t, day, quarter = datetime.fromisoformat(found["at"]), timedelta(days=1), timedelta(minutes=15)
    mine = [order for order in orders if order["customer_id"] == "c001"]
    books = [order for order in orders if order["category"] == "books"]
    amounts = [order["amount_cents"] for order in in_window(mine, t, 7 * day, timedelta(hours=1))]
    assert found["features"] == {
        "customer_orders__orders_24h": len(in_window(mine, t, day, quarter)),
        "customer_orders__spent_cents_24h": sum(o["amount_cents"] for o in in_window(mine, t, day, quarter)),
        "customer_orders__mean_amount_cents_7d": pytest.approx(sum(amounts) / len(amounts), rel=1e-9),
        "customer_orders__last_amount_cents": mine[-1]["amount_cents"],
        "customer_orders__last_coupon": next(order["coupon"] for order in reversed(mine) if order["coupon"]),
        "category_orders__orders_1h": len(in_window(books, t, timedelta(hours=1), timedelta(minutes=1))),
        "category_orders__items_24h": sum(order["items"] for order in in_window(books, t, day, quarter)),
        "category_orders__max_amount_cents_24h": max(
            order["amount_cents"] for order in in_window(books, t, day, quarter)
        ),
    }
    assert found["features"]["customer_orders__orders_24h"] > 0
    assert {view["status"] for view in found["views"].values()} == {"present"}


def in_window(orders: list[dict[str, Any]], t: datetime, length: timedelta, slide: timedelta) -> list[dict[str, Any]]:
    """What a window counts at `t`: its tiles reach back `length` from the one that `t` is in."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    tile = (t - epoch) // slide
    return [o for o in orders if tile - length // slide < (o["placed_at"] - epoch) // slide <= tile]
