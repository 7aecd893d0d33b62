"""The detector's former location, kept because published model cards refer to it."""
