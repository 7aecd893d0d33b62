"""Sample orders, computed as pure functions of seed and epoch."""
