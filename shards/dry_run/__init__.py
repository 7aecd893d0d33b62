"""Implements ``glass build --dry-run``: tells the user what a build would do, without building anything."""
