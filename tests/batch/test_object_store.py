"""Sources in an object store: the credentials come from the environment, the address from the source."""

from __future__ import annotations

import random
from pathlib import Path
from urllib.request import Request, urlopen

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from headrace.batch.fingerprint import fingerprint
from headrace.batch.join import BatchJoin
from headrace.errors import BatchSourceAwayError
from tests.batch.examples import Kind, at, driver_plan, driver_rows, driver_view, table_of, write_rows
from tests.servers.object_store import object_store


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_rows_in_an_object_store_are_read(tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = driver_rows(random.Random(1), 40)
    write_rows(tmp_path, rows, path="local")
    keys = [(driver, city) for driver in range(5) for city in "ab"]
    spine = pa.table(
        {
            "driver": [driver for driver, _ in keys],
            "city": [city for _, city in keys],
            "event_timestamp": pa.array([at(30)] * len(keys), pa.timestamp("us", "UTC")),
        }
    )
    with object_store() as options:
        for name, value in options.items():
            monkeypatch.setenv(name, value)
        endpoint = options["AWS_ENDPOINT_URL"]
        if kind == "delta":
            write_deltalake("s3://bucket/rows", table_of(rows), storage_options=options)
        else:
            for file in (tmp_path / "local").iterdir():
                url = f"{endpoint}/bucket/rows/{file.name}"
                urlopen(Request(url, file.read_bytes(), method="PUT")).close()  # noqa: S310 the tests' own server
        view = driver_view(kind)
        source = view.source.model_copy(update={"path": "s3://bucket/rows", "endpoint": endpoint})
        plan = driver_plan(view.model_copy(update={"source": source}))
        refs = plan.resolve(["drivers:*"])
        found = BatchJoin(plan, tmp_path).join(spine, refs)
        assert fingerprint(plan.batch_views["drivers"], tmp_path)["source"] == "driver_rows"
        gone = driver_plan(view.model_copy(update={"source": source.model_copy(update={"path": "s3://bucket/none"})}))
        with pytest.raises(BatchSourceAwayError, match="driver_rows"):
            BatchJoin(gone, tmp_path).join(spine, refs)
    assert found == BatchJoin(driver_plan(driver_view(path="local")), tmp_path).join(spine, refs)
