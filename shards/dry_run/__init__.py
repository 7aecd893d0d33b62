"""What a build would do, said before it is done: ``glass build --dry-run``."""
