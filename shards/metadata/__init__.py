"""Properties of an image file other than its pixels: coding, embedded metadata, the size of the pixel data."""
