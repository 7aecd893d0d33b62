"""A trained model as files, and the rules behind its pixels."""
