"""The sides of the stream benchmark, each in its own process: `python -m benchmarks.peers.NAME JOB` (`protocol.py`)."""
