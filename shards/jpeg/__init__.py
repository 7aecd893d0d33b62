"""Random access to JPEGs: reads headers and Huffman codes, walks scans, and makes entry points."""
