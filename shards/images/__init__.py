"""One image file: its format, its pixels, and the form in which a shard stores it."""
