"""Memory of a training or prediction step: counted, predicted before it runs, and advice if it does not fit."""
