"""Properties of an image file other than its pixels: coding, embedded metadata, and pixel-data size."""
