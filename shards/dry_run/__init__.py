"""Tells what a build would do before it is done: ``glass build --dry-run``."""
