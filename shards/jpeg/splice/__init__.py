"""Cuts windows out of a JPEG's bit stream without decoding: reads the index, copies rows of MCUs, writes headers."""
