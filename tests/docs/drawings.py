"""Drawings of windows in the docs, as tests: what a drawing says, and the same from the worker's code."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, BaseModel

from headrace.plan import Column, DType, Feature, Plan, Source, View
from headrace.testing import Testbed
from tests.e2e.flights import ROOT

MINUTE = timedelta(minutes=1)
MINUTE_US = 60_000_000
SIZE = re.compile(r"(window|slide|offset) (exact|(?:(\d+) min)?(?: \+ )?(?:(\d+) µs)?)(?:, |$)")


class Mark(BaseModel):
    """A letter of a drawing; `bit` makes a sum tell which letters were counted, and how often."""

    letter: str
    at: AwareDatetime
    bit: int
    thing: str = "it"


@dataclass
class Drawing:
    """What a drawing says."""

    window_us: int | None
    slide_us: int | None
    offset_us: int = 0
    events: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    lookups: dict[str, list[datetime]] = field(default_factory=dict)
    wanted: list[tuple[str, str, list[str]]] = field(default_factory=list)


def drawings(page: str) -> list[tuple[str, str]]:
    """The drawings of a page in docs/, each with the title of its section."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [
        (section.partition("\n")[0], block)
        for section in text.split("\n## ")[1:]
        for block in re.findall(r"^```text\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    ]


def read(text: str) -> Drawing:
    header, *lines = text.strip().splitlines()
    sizes = {
        name: 1 if said == "exact" else int(minutes or 0) * MINUTE_US + int(us or 0)
        for name, said, minutes, us in SIZE.findall(header)
    }
    assert sizes or header == "lifetime"
    drawing = Drawing(sizes.get("window"), sizes.get("slide"), sizes.get("offset", 0))
    rows: dict[str, str] = {}
    for line in lines:
        if line.startswith(("clock", "event", "known", "lookup")):
            rows[line.split()[0]] = line
        elif line:
            name, as_of, counted = re.fullmatch(r"(\d)( as of event)?:(.*)", line).groups()  # type: ignore[union-attr]
            drawing.wanted.append((name, "event" if as_of else "known", counted.split()))
    start = rows["clock"].index(re.findall(r"\d\d:\d\d", rows["clock"])[0])
    hour, minute = map(int, rows["clock"][start : start + 5].split(":"))
    begin = datetime(2026, 3, 1, hour, minute, tzinfo=UTC)
    for at, label in ((found.start(), found.group()) for found in re.finditer(r"\d\d:\d\d", rows["clock"])):
        assert (begin + (at - start) * MINUTE).strftime("%H:%M") == label, "the clock row is not a minute a character"

    def marks(row: str) -> list[tuple[str, datetime]]:
        marked = enumerate(rows.get(row, "")[start:])
        return [(sign, begin + at * MINUTE) for at, sign in marked if sign not in "- "]

    known: dict[str, list[datetime]] = {}
    for letter, moment in marks("known"):
        known.setdefault(letter, []).append(moment)
    for letter, ts in marks("event"):
        drawing.events.append((letter, ts, known[letter].pop(0) if known.get(letter) else ts))
    for digit, moment in marks("lookup"):
        drawing.lookups.setdefault(digit, []).append(moment)
    return drawing


def check(drawing: Drawing, *, event_ids: bool = False) -> None:
    """Send the drawing's events, and compare online and history with it: at first, after a crash, after a replay.

    Args:
        drawing: The drawing.
        event_ids: Whether an event's letter is its id.
    """
    with Testbed(_plan_of(drawing, event_ids), partitions=1, models={"marks": Mark}) as bed:
        for letter, ts, known_at in sorted(drawing.events, key=lambda event: event[2]):
            bit = 1 << (ord(letter) - ord("a"))
            bed.send("marks", [{"letter": letter, "at": ts, "bit": bit}], known_at=known_at)
        _assert_as_drawn(bed, drawing)
        bed.restart()
        _assert_as_drawn(bed, drawing)
        bed.replay(from_offset=0)
        _assert_as_drawn(bed, drawing)


def _plan_of(drawing: Drawing, event_ids: bool) -> Plan:
    columns = (
        Column(name="letter", dtype=DType.STRING, nullable=False),
        Column(name="at", dtype=DType.TIMESTAMP, nullable=False),
        Column(name="bit", dtype=DType.INT64, nullable=False),
        Column(name="thing", dtype=DType.STRING, nullable=False),
    )
    source = Source(
        name="marks", topic="marks", model="m:Mark", key="thing", timestamp_field="at", columns=columns,
        event_id="letter" if event_ids else None, dedup_us=60 * MINUTE_US,
    )  # fmt: skip
    feature = Feature(
        name="counted", function="sum", column="bit", window_us=drawing.window_us, slide_us=drawing.slide_us,
        offset_us=drawing.offset_us, dtype=DType.INT64,
    )  # fmt: skip
    view = View(name="v", source="marks", entities=(columns[3],), features=(feature,), input=None)
    return Plan(project="drawing", sources={"marks": source}, views={"v": view})


def _letters(total: int) -> list[str]:
    """Which letters a sum holds; a letter counted twice would show as another."""
    return [chr(ord("a") + bit) for bit in range(26) if total >> bit & 1]


def _assert_as_drawn(bed: Testbed, drawing: Drawing) -> None:
    assert drawing.wanted
    for digit, as_of, counted in drawing.wanted:
        for at in drawing.lookups[digit]:
            row = {"thing": "it", "event_timestamp": at}
            found = bed.history(["v:counted"], [row], as_of=as_of)  # type: ignore[arg-type]
            assert _letters(found.column("v__counted")[0].as_py()) == counted, f"history, lookup {digit} at {at:%H:%M}"
            if as_of == "known":
                served = bed.online(["v:counted"], [{"thing": "it"}], at=at)
                assert _letters(served.column("v__counted")[0].as_py()) == counted, (
                    f"online, lookup {digit} at {at:%H:%M}"
                )
