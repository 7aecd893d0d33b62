"""How commands talk to the user: errors, streams, addresses, numbers and progress."""
