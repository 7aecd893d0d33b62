"""Images, shards and servers that benches measure on."""
