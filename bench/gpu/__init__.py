"""The parts of ``bench gpu``: each a list of cells that are measured one after the other until its time is over."""
