"""One image file: its format and its pixels."""
