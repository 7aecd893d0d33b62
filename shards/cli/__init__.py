"""How commands speak to a person: errors, streams, addresses, numbers, silences."""
