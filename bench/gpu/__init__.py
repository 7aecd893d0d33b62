"""The parts of ``glass bench gpu``. Each part is a list of cells (single measurements), which run one after another
until the part's time is up."""
