"""Shards in object stores and on web servers: whole through a cache, or in ranges."""
