"""One image file: its format, its pixels, and the form in which it is stored in a shard."""
