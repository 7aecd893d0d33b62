"""What a step takes, planned before it runs, and what to do when it does not fit."""
