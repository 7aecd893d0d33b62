"""The parts of ``glass bench gpu``: each is a list of cells that are measured one after another until its time is
over."""
