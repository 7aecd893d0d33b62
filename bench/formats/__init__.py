"""``glass bench decode --formats``: this loader and other decoders, format by format and size by size."""
