from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.errors import BrokerUnavailableError, EventError, TopicError
from headrace.kafka import EmbeddedBroker, KafkaConnection, end_offsets, ensure_topics
from headrace.plan import Source
from headrace.produce import EventProducer, History, ReplayOptions, ReplayProgress, ReplaySummary, replay
from headrace.produce.partitioner import partition_of
from tests.produce.examples import START, START_MS, STEP, Reading, reading, readings, source_of

pytestmark = pytest.mark.kafka
Records = Callable[[str], dict[int, list[Any]]]
EVENTS = readings(3_000)


@pytest.fixture
def run(broker: str, source: Source) -> Callable[..., ReplaySummary]:
    """Replays a history into the test's topic."""

    def run(history: History = EVENTS, **options: Any) -> ReplaySummary:
        with EventProducer(source, Reading, broker) as producer:
            return replay(producer, history, ReplayOptions(**options))

    return run


def contents(found: dict[int, list[Any]]) -> dict[int, list[tuple[Any, ...]]]:
    return {
        partition: [(r.key, r.value, r.timestamp) for r in of_partition] for partition, of_partition in found.items()
    }


def in_order(found: dict[int, list[Any]]) -> list[tuple[int, int]]:
    """Count field and record timestamp of all records, by timestamp and then by count."""
    events = [(Reading.model_validate_json(r.value).count, r.timestamp) for records in found.values() for r in records]
    return sorted(events, key=lambda event: (event[1], event[0]))


def test_history_is_sent_whole_at_the_times_when_it_happened(
    run: Callable[..., ReplaySummary], source: Source, records: Records
) -> None:
    summary = run()
    assert (summary.topic, summary.sent, summary.skipped, summary.late, summary.already) == (
        source.topic,
        3_000,
        0,
        0,
        0,
    )
    assert 3_000 / summary.events_per_second == pytest.approx(summary.seconds, abs=0.001)  # seconds are told to the ms
    assert in_order(records(source.topic)) == [(i, START_MS + 30_000 * i) for i in range(3_000)]


def test_table_and_mappings_send_the_same_bytes(broker: str, topic_name: str, records: Records) -> None:
    found = []
    for i, history in enumerate([EVENTS, iter(EVENTS), pa.Table.from_pylist(EVENTS)]):
        source = source_of(f"{topic_name}-{i}")
        ensure_topics(KafkaConnection.of(broker), [source], 3)
        with EventProducer(source, Reading, broker) as producer:
            replay(producer, history, ReplayOptions(late=0.1))
        found.append(contents(records(source.topic)))
    assert found[0] == found[1] == found[2]


def test_late_events_come_after_those_that_happened_meanwhile(
    run: Callable[..., ReplaySummary], source: Source, records: Records
) -> None:
    """
    happened   0    1    2    3    4   …      one every 30 s
    sent       0    1         3    4   2      2 is late; its record's timestamp says when it was sent
    """
    summary = run(late=0.05, seed=3)
    found = records(source.topic)
    assert 100 < summary.late < 200
    late = 0
    for of_partition in found.values():
        sent = [record.timestamp for record in of_partition]
        assert sent == sorted(sent)
        for record in of_partition:
            event = Reading.model_validate_json(record.value)
            delay_ms = record.timestamp - (START_MS + 30_000 * event.count)
            late += delay_ms > 0
            assert 0 <= delay_ms <= 600_000
    assert late == summary.late


@pytest.mark.slow
def test_same_seed_sends_the_same_and_another_something_else(broker: str, topic_name: str, records: Records) -> None:
    found = []
    for i, seed in enumerate([1, 1, 2]):
        source = source_of(f"{topic_name}-{i}")
        ensure_topics(KafkaConnection.of(broker), [source], 3)
        with EventProducer(source, Reading, broker) as producer:
            replay(producer, EVENTS, ReplayOptions(late=0.2, seed=seed))
        found.append(contents(records(source.topic)))
    assert found[0] == found[1] != found[2]


@pytest.mark.slow
def test_from_and_until_cut_the_whole_replay_by_event_time(
    run: Callable[..., ReplaySummary], source: Source, records: Records
) -> None:
    start, until = START + 500 * STEP, START + 700 * STEP
    summary = run(start=start, until=until, late=0.2)
    part = in_order(records(source.topic))
    assert summary.sent == 200
    assert sorted(count for count, _ in part) == list(range(500, 700)), "from is included, until is not"
    run(late=0.2)
    whole = in_order(records(source.topic))
    assert set(part) <= set(whole)
    assert len([event for event in whole if event in part]) == 400, "as late as in the whole replay"


def test_limit_sends_the_first_so_many(run: Callable[..., ReplaySummary], source: Source, records: Records) -> None:
    assert run(limit=7).sent == 7
    assert [count for count, _ in in_order(records(source.topic))] == list(range(7))
    assert run(limit=0).sent == 0


def test_empty_history_sends_nothing(run: Callable[..., ReplaySummary]) -> None:
    assert run([]).sent == 0
    assert run(pa.Table.from_pylist(EVENTS).slice(0, 0), resume=True, speed=10).sent == 0
    assert run(start=START + timedelta(days=999)).sent == 0


@pytest.mark.slow
def test_resume_sends_what_is_not_there_yet(
    run: Callable[..., ReplaySummary], source: Source, records: Records
) -> None:
    run(limit=1_234, late=0.1)
    for limit, sent, skipped in (
        (1_234, 0, 1_234),
        (1_000, 0, 1_000),
        (2_000, 766, 1_234),
        (None, 1_000, 2_000),
        (None, 0, 3_000),
    ):
        summary = run(limit=limit, late=0.1, resume=True)
        assert (summary.sent, summary.skipped) == (sent, skipped)
    resumed = contents(records(source.topic))
    assert sorted(count for count, _ in in_order(records(source.topic))) == list(range(3_000))
    for of_partition in resumed.values():
        assert [record[2] for record in of_partition] == sorted(record[2] for record in of_partition)


def test_resume_of_an_empty_topic_sends_everything(run: Callable[..., ReplaySummary]) -> None:
    assert run(resume=True).sent == 3_000


def test_resume_goes_on_within_partitions_that_got_ahead(
    broker: str, source: Source, run: Callable[..., ReplaySummary]
) -> None:
    """A run that breaks off leaves one partition further on than another."""
    ahead = [event for event in EVENTS[:600] if partition_of(event["sensor"].encode(), 3) == 0]
    with EventProducer(source, Reading, broker) as producer:
        for event in ahead:
            producer.send(event, timestamp=event["at"])
    assert 0 < len(ahead) < 600
    assert list(end_offsets(KafkaConnection.of(broker), [source.topic]).values()) == [len(ahead), 0, 0]
    summary = run(resume=True)
    assert (summary.sent, summary.skipped) == (3_000 - len(ahead), len(ahead))


def test_resume_without_keys_goes_on_in_every_partition(broker: str, topic_name: str, records: Records) -> None:
    source = source_of(topic_name, key=None)
    ensure_topics(KafkaConnection.of(broker), [source], 3)
    for limit in (100, None):
        with EventProducer(source, Reading, broker) as producer:
            replay(producer, EVENTS, ReplayOptions(limit=limit, resume=True))
    found = records(topic_name)
    assert [len(of_partition) for of_partition in found.values()] == [1_000, 1_000, 1_000]
    assert sorted(count for count, _ in in_order(found)) == list(range(3_000))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"late": 0.5, "seed": 9}, "does not hold what this replay sent there"),
        ({"start": START + STEP}, "does not hold what this replay sent there"),
        ({"until": START + 10 * STEP}, "more events than this replay sends there"),
    ],
)
def test_resume_of_something_else_is_refused_and_sends_nothing(
    broker: str, source: Source, run: Callable[..., ReplaySummary], options: dict[str, Any], said: str
) -> None:
    run(limit=500)
    before = end_offsets(KafkaConnection.of(broker), [source.topic])
    with pytest.raises(TopicError, match=f"{said}(?s:.*)--late and --seed"):
        run(resume=True, **options)
    assert end_offsets(KafkaConnection.of(broker), [source.topic]) == before


def test_resume_sees_other_record_timestamps(broker: str, source: Source, run: Callable[..., ReplaySummary]) -> None:
    with EventProducer(source, Reading, broker) as producer:
        producer.send(EVENTS[0], timestamp=EVENTS[0]["at"] + timedelta(seconds=1))
    with pytest.raises(TopicError, match="differs in its timestamp"):
        run(resume=True)


def test_without_resume_events_come_on_top(run: Callable[..., ReplaySummary], broker: str, source: Source) -> None:
    run(limit=10)
    assert run(limit=10).already == 10
    assert sum(end_offsets(KafkaConnection.of(broker), [source.topic]).values()) == 20


def test_speed_spreads_events_as_they_happened(run: Callable[..., ReplaySummary]) -> None:
    """20 events take 570 s of history; at 1200 times that is 0.475 s."""
    assert run(limit=20, speed=1_200).seconds >= 0.47


def test_progress_is_told_up_to_the_end(broker: str, source: Source) -> None:
    told: list[ReplayProgress] = []
    with EventProducer(source, Reading, broker) as producer:
        replay(producer, EVENTS, ReplayOptions(limit=5, speed=300), told.append)
    assert len(told) >= 3, "several times a second, also while it waits"
    assert told[-1] == ReplayProgress(5, 5, datetime(2013, 1, 1, 0, 2, tzinfo=UTC))
    assert [at.sent for at in told] == sorted(at.sent for at in told)


def test_bad_event_of_a_history_stops_it_with_its_row(
    run: Callable[..., ReplaySummary], broker: str, source: Source
) -> None:
    events = [*readings(2_000), reading(at=START + 2_000 * STEP, value=5_000)]
    with pytest.raises(EventError, match=r"Reading\.value of row 2,000 is 5000"):
        run(events)
    assert sum(end_offsets(KafkaConnection.of(broker), [source.topic]).values()) == 0
    with pytest.raises(EventError, match=r"Reading\.value of row 2,000 is 5000"):
        run(pa.Table.from_pylist(events))


@pytest.mark.slow
def test_replay_that_lost_its_broker_says_so_and_resumes(tmp_path: Path) -> None:
    source = source_of("readings")
    with EmbeddedBroker(tmp_path / "broker.json") as first:
        ensure_topics(first.connection, [source], 3)
        progress: list[ReplayProgress] = []

        def kill(now: ReplayProgress) -> None:
            progress.append(now)
            if first.alive:
                os.kill(first.info.pid, signal.SIGKILL)

        def replay_an_hour() -> None:
            with EventProducer(source, Reading, first.address, patience_s=1.0) as producer:
                replay(producer, EVENTS, ReplayOptions(speed=25), kill)

        with pytest.raises(BrokerUnavailableError, match=r"not confirmed(?s:.*)--resume"):
            replay_an_hour()
        assert progress[-1].sent < progress[-1].total, "it does not wait for the end of the replay to say so"
    with EmbeddedBroker(tmp_path / "broker.json") as second:  # it has forgotten everything, so everything is sent
        ensure_topics(second.connection, [source], 3)
        with EventProducer(source, Reading, second.address) as producer:
            assert replay(producer, EVENTS, ReplayOptions(resume=True)).sent == 3_000
        assert sum(end_offsets(second.connection, ["readings"]).values()) == 3_000
