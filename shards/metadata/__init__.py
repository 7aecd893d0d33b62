"""What a file says about itself beside its pixels: coding, metadata, the bytes that hold pixels."""
