"""Random-access JPEG: header, Huffman codes, the walk through the scan, entry points."""
