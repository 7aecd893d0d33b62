"""Tells the user what a build would do, and builds nothing: ``glass build --dry-run``."""
