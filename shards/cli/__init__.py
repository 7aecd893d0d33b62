"""How commands speak to the user: errors, streams, addresses, numbers and long waits."""
