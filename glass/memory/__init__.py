"""The memory of a step: counted, planned before it runs, and a remedy where it does not fit."""
