"""Importing history: all of it is read and checked first, then logged. An interrupted import can be continued.

Imported events have a source partition of their own, one per import (`FIRST_IMPORT` in `log/log_columns.py`, and
above), at offsets from 0. So nothing that Kafka delivers has their positions, a worker's offsets are not touched, and
everything else is as for streamed events.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa

from headrace.config import Project
from headrace.erasure import ErasureFilter
from headrace.errors import IngestError
from headrace.events.columns import BoolArray
from headrace.events.decode import EventDecoder
from headrace.events.event_batch import EventBatch
from headrace.events.model_schema import load_model
from headrace.ingest.apply_online import Applied, apply_imports, known_of
from headrace.ingest.column_mapping import Fields, Unmatched
from headrace.ingest.input_reader import Origin, Reader
from headrace.ingest.only_import import only_import
from headrace.ingest.staging import Digest, Staging
from headrace.ingest.validate import BadRow, Validator
from headrace.log import EventLog
from headrace.log.import_registry import Entry, Registry
from headrace.log.log_columns import FIRST_IMPORT, RECORD_TS, TS
from headrace.log.recent_ids import held_ids
from headrace.plan import Plan, Source, read_plan
from headrace.tabular.time_columns import TimeReader
from headrace.times import iso_time
from headrace.worker.deduplication import Deduplicator
from headrace.worker.log_rows import batch_of_rows, log_rows

__all__ = ["Imported", "import_history"]

_ROOM = ".import-"
_SHOWN = 10
_NO_TIME = -(2**63)


@dataclass
class Imported:
    """What an import did.

    Attributes:
        source: The source's name.
        id: The import's id.
        partition: The source partition of its events; None if nothing was written.
        rows: How many rows were read.
        events: How many of them are events.
        bad: How many rows are not events.
        repeated: How many events were left out because their event id had counted already in this import.
        held: How many were left out because the log already has an event with that event id.
        erased: How many were left out because their entity was erased.
        logged: How many were logged now.
        imported_at: When the same events were imported before, so that nothing was logged now; None if they were not.
        first_us: The earliest event time, in µs; None if there are no events.
        last_us: The latest.
        version: The log's version after the import; None if nothing was logged.
        online: What became of them online; None for a dry run.
        unmatched: The columns that no field comes from, and the fields that come from no column.
        quoted_query: The query as it was run, if names in it had to be put in double quotes.
        bad_file: The file with the rows that are not events; None if there are none.
        first_bad: The first few of these rows.
    """

    source: str
    id: str = ""
    partition: int | None = None
    rows: int = 0
    events: int = 0
    bad: int = 0
    repeated: int = 0
    held: int = 0
    erased: int = 0
    logged: int = 0
    imported_at: str | None = None
    first_us: int | None = None
    last_us: int | None = None
    version: int | None = None
    online: Applied | None = None
    unmatched: list[Unmatched] = field(default_factory=list)
    quoted_query: str | None = None
    bad_file: str | None = None
    first_bad: list[BadRow] = field(default_factory=list, repr=False)


def import_history(
    project: Project,
    source: str,
    origin: Origin,
    *,
    known_at: str | None = None,
    mapped: Mapping[str, str] | None = None,
    moments: TimeReader | None = None,
    name: str | None = None,
    again: bool = False,
    skip_bad: bool = False,
    dry_run: bool = False,
    now_us: int | None = None,
    commit_rows: int = 500_000,
) -> Imported:
    """Load existing history into the log, and into the online store unless a worker must do it.

    Importing the same events again changes nothing. An import that was cut short goes on where it ended when it is run
    again.

    Args:
        project: The project.
        source: The source's name, or its topic.
        origin: Where history comes from.
        known_at: The column that says when each event became known; None is at its event time.
        mapped: By field of the model, the column it comes from; fields left out come from the column of their name.
        moments: How times are read that say no zone, or are numbers; None leaves them to the model.
        name: An id for the import; None makes one of its events' checksum.
        again: Whether to import events once more that were imported already; events with an
            event id still count once.
        skip_bad: Whether to leave out rows that are not events, and write them to a file, instead of importing nothing.
        dry_run: Whether to read and check only.
        now_us: Now by the wall clock, in µs; None asks it.
        commit_rows: How many events go into one commit of the log, nearly.

    Returns:
        What was done.

    Raises:
        IngestError: A row is not an event; a file was imported before, with other options; a file or column is missing.
        PlanError, EventError: There is no plan, or the source's model cannot be loaded.
        LogError, LogUnavailableError, StoreUnavailableError: Import again: it continues where this ended.
    """
    plan = read_plan(project.plan_file)
    declared = _source(plan, source)
    model = load_model(project.repo, declared.model)
    fields = Fields(declared, model, mapped or {}, known_at)
    now = time.time_ns() // 1000 if now_us is None else now_us
    validator = Validator(EventDecoder(declared, model), fields, now, declared.max_future_us, moments or TimeReader())
    names = [*(field.name for field in fields.all), *(mapped or {}).values()]
    reader, registry = Reader(origin, names), Registry(project.log_notes)
    done = Imported(declared.name, unmatched=fields.unmatched, quoted_query=reader.quoted_query)
    try:
        project.state.mkdir(parents=True, exist_ok=True)
        with (
            only_import(project),
            _room(project) as room,
            Staging(room / "events.arrow", declared, commit_rows) as staging,
        ):
            bad_rows = room / "bad.jsonl"
            with bad_rows.open("w", encoding="utf-8") as bad_file:
                digest = _stage(reader, fields, validator, staging, bad_file, declared, done)
            _judge_bad_rows(done, skip_bad=skip_bad)
            files = reader.checksums()
            log = EventLog(project.log_root, declared)
            # Events with ids count once whatever file they come in.
            known_files = {} if again or declared.event_id is not None else files
            entry = registry.find(declared.topic, digest, name, known_files)
            if entry is not None and again and _is_whole(log, entry):
                entry = None
            if entry is not None and _is_whole(log, entry):
                # What the online store lacks of them it still gets.
                done.id, done.partition, done.imported_at = entry.id, entry.partition, entry.begun_at
                done.online = None if dry_run else apply_imports(project, plan, declared)
                return done
            done.id = entry.id if entry is not None else name or registry.free_id(declared.topic, digest[:16])
            if dry_run:
                done.held = sum(int(_held(log, batch, None).sum()) for batch in _batches(log, staging, FIRST_IMPORT))
                return done
            _keep_bad_rows(project, bad_rows, digest, done)
            if entry is None:
                known = known_of(project, plan, declared.topic)
                partition = registry.next_partition(declared.topic, [*known.partitions, *log.imports()])
                entry = Entry(done.id, declared.topic, partition, digest, done.events, files, iso_time(now) or "")
                registry.add(entry)
            done.partition = entry.partition
            _append(project, plan, log, entry, staging, done)
            done.online = apply_imports(project, plan, declared)
    except OSError as error:
        msg = f"The events could not be kept in {project.state} while they are checked: {error}."
        raise IngestError(msg, hint="See that the state folder is writable and the disk has space.") from error
    finally:
        reader.close()
    return done


@contextmanager
def _room(project: Project) -> Iterator[Path]:
    """A folder for events that wait. Folders of imports that were killed are removed: no other import is running."""
    for left in project.state.glob(f"{_ROOM}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=project.state, prefix=_ROOM) as room:
        yield Path(room)


def _source(plan: Plan, name: str) -> Source:
    for source in plan.sources.values():
        if name in (source.name, source.topic):
            return source
    msg = f"The plan has no source {name!r}."
    raise IngestError(msg, hint=f"Sources: {', '.join(plan.sources) or 'none'}.")


def _stage(
    reader: Reader,
    fields: Fields,
    validator: Validator,
    staging: Staging,
    bad_file: TextIO,
    source: Source,
    done: Imported,
) -> str:
    """Read and check everything; the digest of the events."""
    digest = Digest(source)
    repeated = Deduplicator({}) if source.event_id is not None else None
    for block in reader.blocks(fields.choose):
        batch, bad = validator.events(block)
        done.rows += block.table.num_rows + len(block.bad)
        done.bad += len(bad)
        done.first_bad += bad[: _SHOWN - len(done.first_bad)]
        bad_file.writelines(json.dumps(row.to_json()) + "\n" for row in bad)
        # Offsets count the good rows alone, so that they depend on nothing that the digest does not.
        batch = replace(batch, offset=done.events + np.arange(len(batch), dtype=np.int64), _values={})
        digest.add(batch)
        done.events += len(batch)
        if not len(batch):
            continue
        done.first_us = min(int(batch.ts_us.min()), done.first_us if done.first_us is not None else 2**63)
        done.last_us = max(int(batch.ts_us.max()), done.last_us if done.last_us is not None else _NO_TIME)
        if repeated is not None:
            before = len(batch)
            (batch,) = repeated.first_ones([batch])
            repeated.accept()
            done.repeated += before - len(batch)
        staging.add(batch)
    return digest.hexdigest()


def _judge_bad_rows(done: Imported, *, skip_bad: bool) -> None:
    if done.bad and (not skip_bad or not done.events):
        shown = "\n".join(f"  {row}" for row in done.first_bad)
        more = f"\n  … and {done.bad - _SHOWN:,} more" if done.bad > _SHOWN else ""
        msg = f"{done.bad:,} of {done.rows:,} rows cannot be imported, so nothing was:\n{shown}{more}"
        hint = (
            "Fix them, name other columns with --map, say how the file is written "
            "(--delimiter, --quote, --escape, --encoding, --null) or its times (--zone, --epoch)"
        )
        if not skip_bad:
            hint += ", or leave them out with --skip-bad, which writes them to a file"
        raise IngestError(msg, hint=f"{hint}.")
    if not done.events:
        msg = "There is no event to import."
        raise IngestError(msg, hint="See that the file or query has rows that are events.")


def _keep_bad_rows(project: Project, written: Path, digest: str, done: Imported) -> None:
    if done.bad:
        folder = project.state / "imports"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{done.source}-{digest[:16]}-bad.jsonl"
        written.replace(path)
        done.bad_file = str(path)


def _is_whole(log: EventLog, entry: Entry) -> bool:
    """Whether the log holds all of an import."""
    return log.last_offsets([entry.partition]).get(entry.partition, -1) >= entry.events - 1


def _batches(log: EventLog, staging: Staging, partition: int) -> Iterator[EventBatch]:
    """What waits, as events of a partition."""
    for rows in staging.groups():
        batch = batch_of_rows(log.source, rows)
        yield replace(batch, partition=np.full(len(batch), partition, np.int64), _values={})


def _held(log: EventLog, batch: EventBatch, own: int | None) -> BoolArray:
    """Which events have an id that another event of the log has, within the horizon of its time or of its record's."""
    column = log.source.event_id
    nothing = np.zeros(len(batch), np.bool_)
    if column is None or not len(batch):
        return nothing
    ids = batch.table.column(column).combine_chunks()
    found = held_ids(log.snapshot(), column, ids.drop_null().unique(), own)
    if not found.num_rows:
        return nothing
    mine = pa.table({"id": ids, "row": np.arange(len(batch)), "ts": batch.ts_us, "record_ts": batch.record_ts_us})
    pairs = mine.join(found, "id", join_type="inner")
    apart = [
        np.abs(pairs.column(own_time).to_numpy() - pairs.column(its_time).to_numpy())
        for own_time, its_time in (("ts", TS), ("record_ts", RECORD_TS))
    ]
    nothing[pairs.column("row").to_numpy()[np.minimum(*apart) <= log.source.dedup_us]] = True
    return nothing


def _append(project: Project, plan: Plan, log: EventLog, entry: Entry, staging: Staging, done: Imported) -> None:
    erased = ErasureFilter(project.erasures, known_of(project, plan, entry.topic).identities)
    for batch in _batches(log, staging, entry.partition):
        fresh = batch.where(~_held(log, batch, entry.partition))
        done.held += len(batch) - len(fresh)
        (kept,) = erased.kept([fresh])
        done.erased += len(fresh) - len(kept)
        if len(batch):
            appended = log.append(log_rows(log.source, [kept]), {entry.partition: int(batch.offset[-1])})
            done.logged += appended.rows
            done.version = appended.version if appended.version is not None else done.version
    # The last events may be repetitions that were left out: the log accounts for their offsets too.
    ended = log.append(log_rows(log.source, []), {entry.partition: entry.events - 1})
    done.version = ended.version if ended.version is not None else done.version
