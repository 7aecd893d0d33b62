"""Claims that a file makes about its origin: signed manifests, IPTC's source type, texts that generators leave."""
