"""Reads and writes files in object stores, reads files on web servers, and caches them on the local disk."""
