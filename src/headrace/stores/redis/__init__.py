"""The online store on a Redis server."""
