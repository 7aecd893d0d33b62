"""What a file claims about its origin: in a signed manifest, by an IPTC source type, or in text written by a
generator."""
