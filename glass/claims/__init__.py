"""What a file says about itself: signed manifests, IPTC's source type, texts that generators leave."""
