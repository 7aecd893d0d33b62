"""Models, training, metrics and reports of GLASS."""
