"""The sides of the stream benchmark, each a process of its own: `python -m benchmarks.peers.NAME JOB` (`protocol.py`)."""
