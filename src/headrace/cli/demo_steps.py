"""The steps of `headrace demo`. Each runs the code of its own command."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from rich.progress import Progress, TaskID

from headrace.cli.datasets import build_dataset
from headrace.cli.output import console, table
from headrace.config import Project
from headrace.errors import ConfigError, HeadraceError, StoreUnavailableError
from headrace.lookup import FeatureClient
from headrace.plan import Plan
from headrace.produce import ReplayOptions, ReplayProgress, load_history, produce
from headrace.times import iso_time

__all__ = ["entities_of", "export_datasets", "produce_histories", "prove", "show_live", "stream_and_look_up"]

_SEED = 2013
_EVERY_S = 0.05
_AT_A_TIME = 10


def produce_histories(project: Project, plan: Plan, late: float, limit: int | None, progress: Progress) -> None:
    """Replay every source's history into its topic, all of it before the worker starts."""
    until = None if limit is None else _common_end(project, plan, limit)
    for source in plan.sources.values():
        task = progress.add_task(f"produce {source.topic}", total=None, more="")

        def report(at: ReplayProgress, task: TaskID = task) -> None:
            progress.update(task, completed=at.sent, total=at.total, more=f"{at.simulated:%Y-%m-%d}")

        summary = produce(project, source.topic, ReplayOptions(late=late, until=until, seed=_SEED), report)
        rate = f"{summary.events_per_second:,.0f} events/s, {summary.late:,} late"
        progress.update(task, completed=summary.sent, total=summary.sent, more=rate)


def _common_end(project: Project, plan: Plan, limit: int) -> datetime:
    """The first time at which some topic has had `limit` events.

    With different ends, the features of one topic could be empty.
    """
    ends = []
    for source in plan.sources.values():
        times = _history_table(project, source.topic)[source.timestamp_field].cast(pa.timestamp("us", "UTC"))
        ends.append(times.sort()[min(limit, len(times)) - 1].as_py())
    first: datetime = min(ends)
    return first + timedelta(microseconds=1)


def _history_table(project: Project, topic: str) -> pa.Table:
    history = load_history(project, topic)
    return history if isinstance(history, pa.Table) else pa.Table.from_pylist([dict(event) for event in history])


def stream_and_look_up(
    project: Project, plan: Plan, wanted: int, progress: Progress
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run the worker as its own process and look up features while it runs.

    Returns:
        The worker's summary, and the recorded lookups, which are also in `lookups.jsonl`.
    """
    entities = entities_of(project, plan)
    command = [sys.executable, "-m", "headrace.cli", "stream", "--until-end", "--json", "--project", str(project.root)]
    task = progress.add_task("stream and look up", total=_produced(progress), more="starting the worker")
    log = project.state / "worker.log"
    # The last tenth is made after the stream has ended, so that the newest state is proven too.
    while_running = wanted * 9 // 10
    with log.open("wb") as worker_log, _Recorder(project, plan, entities) as recorder:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=worker_log, text=True)
        try:
            while worker.poll() is None:
                recorder.record(min(_AT_A_TIME, while_running - len(recorder.recorded)))
                applied, newest = recorder.state()
                progress.update(task, completed=applied, more=f"{newest} · {len(recorder.recorded)} lookups recorded")
                time.sleep(_EVERY_S)
        finally:
            if worker.poll() is None:
                worker.terminate()
                worker.wait()
        summary = _summary(worker, log)
        during = len(recorder.recorded)
        while len(recorder.recorded) < wanted and recorder.record(min(_AT_A_TIME, wanted - len(recorder.recorded))):
            pass
    after = len(recorder.recorded) - during
    rate = f"{summary['events_per_second']:,} events/s · {during} lookups recorded meanwhile, {after} after"
    progress.update(task, completed=summary["events"], more=rate)
    return summary, recorder.recorded


class _Recorder:
    """Looks up features and keeps every answer with its evidence, in memory and in `lookups.jsonl`."""

    def __init__(self, project: Project, plan: Plan, entities: dict[str, list[dict[str, Any]]]) -> None:
        self._project = project
        self._plan = plan
        self._entities = entities
        self._random = random.Random(_SEED)  # noqa: S311 it chooses entities for a demo
        self._client: FeatureClient | None = None
        self.recorded: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._lines = (self._project.state / "lookups.jsonl").open("w", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        if self._client is not None:
            self._client.close()

    def record(self, count: int) -> bool:
        """Look up `count` entities; False where there is nothing to look up yet."""
        client = self._filled_store()
        if client is None or count <= 0:
            return False
        service = self._random.choice(sorted(self._entities))
        answers = client.get_online_features(service, self._random.choices(self._entities[service], k=count)).records()
        self._lines.writelines(json.dumps(answer) + "\n" for answer in answers)
        self.recorded += answers
        return True

    def state(self) -> tuple[int, str]:
        """How many records are applied, and the time of the newest."""
        client = self._filled_store()
        if client is None:
            return 0, "starting the worker"
        positions = client.positions().values()
        newest = max(position.record_ts_us for position in positions)
        return sum(position.offset + 1 for position in positions), (iso_time(newest) or "")[:10]

    def _filled_store(self) -> FeatureClient | None:
        """A client, once the worker has made the store and applied its first round."""
        if self._client is None:
            try:
                self._client = FeatureClient(self._project, plan=self._plan, audit=1)
            except StoreUnavailableError:
                return None
        return self._client if self._client.positions() else None


def _produced(progress: Progress) -> int:
    return int(sum(task.completed for task in progress.tasks if task.description.startswith("produce ")))


def _summary(worker: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    printed = worker.stdout.read() if worker.stdout else ""
    if worker.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip()
        msg = f"The worker ended with exit code {worker.returncode}:\n{lines}"
        raise HeadraceError(msg, hint=f"Its log is {log}.")
    return dict(json.loads(printed))


def entities_of(project: Project, plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """For each service, the distinct entities in the history of a source that has all its join keys."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, refs in plan.services.items():
        keys = list(dict.fromkeys(key for ref in plan.stored(refs) for key in plan.views[ref.view].join_keys))
        source = next((s for s in plan.sources.values() if {column.name for column in s.columns} >= set(keys)), None)
        if source is not None:
            table = _history_table(project, source.topic).select(keys)
            distinct = table.group_by(keys).aggregate([])
            found[name] = distinct.sort_by([(key, "ascending") for key in keys]).to_pylist()
    if not found:
        msg = "The demo needs a feature service whose join keys one source has."
        raise ConfigError(msg, hint="Declare a FeatureService in feature_repo/services.py.")
    return found


def show_live(project: Project, plan: Plan) -> None:
    """Print the current features of a few entities per service."""
    for name, entities in entities_of(project, plan).items():
        with FeatureClient(project, plan=plan) as client:
            answer = client.get_online_features(name, entities)
        present = [record for record in answer.records() if _is_known(record)]
        shown = present[:: max(1, -(-len(present) // 4))]
        columns = [" ".join(str(value) for value in record["keys"].values()) for record in shown]
        rows = [
            [feature.replace("__", ":"), *(record["features"][feature] for record in shown)]
            for feature in answer.values
        ]
        title = f"Live features of {name} at {iso_time(answer.at_us)}"
        table(title, ["feature", *columns], rows, numbers=columns, whole=["feature"])


def _is_known(record: dict[str, Any]) -> bool:
    return all(view["status"] != "unknown_key" for view in record["views"].values())


def export_datasets(project: Project) -> list[Path]:
    """Build every dataset under offline/datasets, and print their sizes."""
    folders: list[Path] = []
    for definition in sorted((project.root / "offline" / "datasets").glob("[!_]*.py")):
        out = project.state / "datasets" / definition.stem
        begun = time.monotonic()
        with console.status(f"Exporting the training set {definition.stem} …"):
            built = build_dataset(project, definition.stem, out)
        splits = ", ".join(f"{split} {facts['rows']:,}" for split, facts in built["splits"].items())
        console.print(
            f"\nTraining set [bold]{definition.stem}[/]: {splits} rows in {time.monotonic() - begun:.1f} s",
            highlight=False,
        )
        folders.append(out)
    return folders


def prove(project: Project, recorded: list[dict[str, Any]]) -> int:
    """Recompute every recorded lookup from the log by its evidence, and show what differs.

    Returns:
        How many match.
    """
    from headrace.training import TrainingClient

    with console.status(f"Recomputing {len(recorded)} lookups from the log …"):
        report = TrainingClient(project).verify_lookups(recorded)
    for mismatch in report.mismatches[:10]:
        console.print(f"[red]differs:[/] {mismatch}", highlight=False)
    return int(report.matches)
