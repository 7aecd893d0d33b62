"""The images, shards and servers that benches use as input."""
