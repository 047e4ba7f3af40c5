"""Real servers for tests: each is its test session's own, on loopback, and gone with it."""
