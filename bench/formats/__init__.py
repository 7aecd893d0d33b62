"""``glass bench decode --formats``: compares this loader and other decoders, format by format and size by size."""
