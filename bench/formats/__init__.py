"""``glass bench decode --formats``: compares this loader with other decoders for each image format and size."""
