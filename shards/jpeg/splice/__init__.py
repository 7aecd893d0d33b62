"""Cuts windows out of a JPEG's bit stream: index, rows of MCUs, header, kernel."""
