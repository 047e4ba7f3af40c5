"""A replay that is resumed after its topic was made anew goes on behind what is logged of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.config import Project
from headrace.errors import TopicError
from headrace.events.decode import EventDecoder
from headrace.events.raw_records import RawRecords
from headrace.kafka import KafkaConnection, ensure_topics
from headrace.log import EventLog, TopicHistory, TopicNotes
from headrace.plan import Source
from headrace.produce import EventProducer, ReplayOptions, replay
from headrace.produce.replay_past_topics import read_past_topics
from headrace.worker.log_rows import log_rows
from tests.produce.examples import Reading, readings, source_of

pytestmark = pytest.mark.kafka
EVENTS = readings(600)
NOW = "2024-05-01T12:00:00+00:00"
FIRST = TopicHistory.begun("c/1", 3, {}, NOW)
ANEW = FIRST.renewed("d/2", 3, {}, NOW, newest_us=0)
Records = Callable[[str], dict[int, list[Any]]]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    return Project.load(tmp_path)


def log(project: Project, source: Source, records: Sequence[Any], base: int = 0) -> None:
    """Log records as a worker does, from source partition `base` on."""
    batch, dead = EventDecoder(source, Reading).decode(RawRecords.of(records), None)
    assert not dead
    rows = log_rows(source, [batch])
    number = np.asarray(rows.column("_partition").to_numpy() + base, np.int32)
    rows = rows.set_column(rows.schema.get_field_index("_partition"), "_partition", [number])
    ends = {int(n): int(batch.offset[number == n].max()) for n in np.unique(number)}
    EventLog(project.log_path, source).append(rows, ends)


def logged(records: dict[int, list[Any]], share: float = 1.0) -> list[Any]:
    return [one for found in records.values() for one in found[: round(len(found) * share)]]


def resume(broker: str, source: Source, project: Project, identity: str, **options: Any) -> tuple[int, int]:
    past = read_past_topics(project, source, identity, 3)
    with EventProducer(source, Reading, broker) as producer:
        done = replay(producer, EVENTS, ReplayOptions(resume=True, **options), past=past)
    return done.sent, done.skipped


@pytest.mark.slow
@pytest.mark.parametrize("history", [FIRST, ANEW], ids=["before a worker has noted it", "after"])
def test_what_is_logged_is_not_sent_again_and_what_was_lost_is(
    broker: str, topic_name: str, records: Records, project: Project, history: TopicHistory
) -> None:
    old, new = source_of(f"{topic_name}-old"), source_of(topic_name)
    ensure_topics(KafkaConnection.of(broker), [old, new], 3)
    with EventProducer(old, Reading, broker) as producer:
        replay(producer, EVENTS, ReplayOptions(limit=400))
    held = logged(records(old.topic), 0.8)  # a worker had not come to the end when the broker was stopped
    log(project, new, held)
    TopicNotes(project.log_notes).update(lambda _: {topic_name: history})
    assert resume(broker, new, project, "d/2", limit=500) == (500 - len(held), len(held))
    assert resume(broker, new, project, "d/2") == (100, 500)
    sent = [one.value for one in (*held, *logged(records(topic_name)))]
    assert len(sent) == len(set(sent)) == 600


def test_a_topic_that_was_never_made_anew_is_all_there_is(project: Project) -> None:
    source = source_of("quiet")
    assert read_past_topics(project, source, "c/1", 3).counts == {}
    TopicNotes(project.log_notes).update(lambda _: {"quiet": FIRST})
    assert read_past_topics(project, source, "c/1", 3).counts == {}


def test_a_log_of_other_events_is_refused_and_nothing_is_sent(
    broker: str, topic_name: str, records: Records, project: Project
) -> None:
    old, new = source_of(f"{topic_name}-old"), source_of(topic_name)
    ensure_topics(KafkaConnection.of(broker), [old, new], 3)
    with EventProducer(old, Reading, broker) as producer:
        replay(producer, EVENTS[100:], ReplayOptions(limit=100))
    log(project, new, logged(records(old.topic)))
    TopicNotes(project.log_notes).update(lambda _: {topic_name: ANEW})
    with pytest.raises(TopicError, match="has other events than this replay sent before"):
        resume(broker, new, project, "d/2")
    assert logged(records(topic_name)) == []


def test_another_number_of_partitions_is_refused(project: Project) -> None:
    TopicNotes(project.log_notes).update(lambda _: {"quiet": ANEW})
    with pytest.raises(TopicError, match="another number of partitions"):
        read_past_topics(project, source_of("quiet"), "d/2", 4)
