"""Facts about an image file other than its pixels: coding, embedded metadata, the bytes that hold pixels."""
