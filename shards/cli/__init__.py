"""Command-line output: error messages, streams, URLs, numbers and progress."""
