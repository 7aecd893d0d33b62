"""Random-access JPEG: header, Huffman codes, the walk, entry points."""
