"""The former location of the detector, kept because published model cards refer to it."""
