"""This deployment's streams: the producers of its topics, and the worker."""
