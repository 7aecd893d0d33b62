"""Finds out what a file claims about its origin: in a signed manifest, in an IPTC source type, or in text written by a
generator."""
