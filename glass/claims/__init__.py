"""What a file claims about its origin: in signed manifests, by IPTC's source type, or in text written by a
generator."""
