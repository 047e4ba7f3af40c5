"""A log is where its URI says, and is read through that place's file system."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from headrace.config import TableRoot
from headrace.errors import LogError, LogUnavailableError
from headrace.log import EventLog
from headrace.log.delta import translated
from headrace.log.location import Location, Place
from tests.log.conftest import SOURCE, rows
from tests.log.trickles import NEVER, held, scanned, trickle

ODD = "a place with späces, ünd 'quotes' & more+signs"


@pytest.mark.parametrize("form", ["path", "text", "uri", "root"])
def test_log_at_a_place_with_an_odd_name_is_written_and_read(tmp_path: Path, form: str) -> None:
    folder = tmp_path / ODD
    uri = f"file://{quote(str(folder))}"
    places: dict[str, Place] = {"path": folder, "text": str(folder), "uri": uri, "root": TableRoot(uri)}
    place = places[form]
    log = EventLog(place, SOURCE, NEVER)
    for number in range(6):
        trickle(log, number)
    assert (folder / "readings" / "_delta_log").is_dir()
    assert log.compact().rows == 60
    assert log.erase({"sensor": pa.scalar("s1")}, alone=True).rows == 30
    assert log.vacuum(retention_s=0).version is not None
    assert scanned(EventLog(folder, SOURCE)) == [(0, offset) for offset in range(30)]
    assert [row["_offset"] for row in held(log)] == list(range(30))
    assert log.last_offsets() == {0: 29}
    assert log.append(rows(0, range(40)), {0: 39}).rows == 10


def test_location_gives_the_file_system_that_opens_what_it_names(tmp_path: Path) -> None:
    here = Location.of(tmp_path)
    assert isinstance(here.filesystem, pafs.LocalFileSystem)
    here.write("deep/er/a.bin", pa.py_buffer(b"12345"))
    (stored,) = here.files()
    assert (stored.name, stored.size) == ("deep/er/a.bin", 5)
    assert here.below("deep").files("er")[0].name == "er/a.bin"
    assert here.files("nowhere") == []
    with here.filesystem.open_input_stream(here.file("deep/er/a.bin")) as file:
        assert file.read() == b"12345"
    here.remove("deep/er/a.bin")
    here.remove("deep/er/a.bin")
    assert here.files() == []


def test_location_in_an_object_store_has_no_folder() -> None:
    there = Location.of(TableRoot("s3://bucket/logs/", {"AWS_REGION": "eu-central-1"})).below("rides")
    assert (str(there), there.is_local, there.file("a/b")) == ("s3://bucket/logs/rides", False, "a/b")
    assert there.options == {"AWS_REGION": "eu-central-1"}
    with pytest.raises(LogError, match="object store"):
        _ = there.path


def test_failure_of_an_object_store_names_its_cause_and_the_settings_of_the_log() -> None:
    drawn = (
        "Kernel error -> Generic S3 error\n          \x1b[31m↳\x1b[0m Error performing GET http://127.0.0.1:9/bucket\n"
        "           \x1b[31m↳\x1b[0m Connection refused (os error 111)\n"
    )
    error = translated(OSError(drawn), Location.of("s3://bucket/log"), "read")
    assert isinstance(error, LogUnavailableError)
    assert error.what.endswith("cannot be read: Kernel error -> Generic S3 error: Connection refused (os error 111)")
    assert error.hint is not None
    assert "`uri` in [log]" in error.hint
    assert "folder" not in error.hint
