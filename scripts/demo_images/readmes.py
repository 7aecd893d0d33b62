"""The texts beside the images: the README.txt of the folder, and the note that every verdict shows."""

from collections.abc import Sequence

from shards.sources.note_file import NOTE_NAME

from .generators import GENERATORS
from .networks import NETWORKS
from .rerendering import CONTROLS

__all__ = ["NETWORKS_NOTE", "SIMULATION_NOTE", "of_networks", "of_simulation"]

SIMULATION_NOTE = (
    "The traces of generators in these images are simulated: verdicts that rest on them say nothing about the images "
    "of real generators."
)
NETWORKS_NOTE = (
    "The generated images are photographs that up-scaling networks rendered again: verdicts that rest on them say "
    "nothing about images that a network made from text."
)

_SIMULATION = """\
These images are a simulation, made by `glass make-demo`.

real/       {scenes} seen by a camera model: colour mosaic, sensor noise, demosaic, sharpening.
generated/  {scenes} of the same kind, made anew by the last stage of {count} simulated generators:
            {names}.
images.csv  path, label, generator, group; renditions of one scene share a group, which must never
            be spread over training and test.
{note_name}
            what every verdict shows of a model that learns from these images; glass build reads it.

The classes differ at native resolution only, by how neighbouring pixels are correlated. Sizes,
formats and qualities are drawn alike for both. A detector that separates them shows that the
software works. It does not show how well the detector does on images of real generators.
"""

_NETWORKS = """\
Parts of photographs and what published networks make of them, by `glass make-demo --networks`.

real/          parts of the photographs at full resolution; those in real/enlarged were shrunk and enlarged again by
               a plain filter, 1.2 to 4 times. They are half of the test's real images, and most of the training's:
               train with --set loader.class_balanced=true.
generated/     parts that were shrunk and enlarged again by a network, at the same size:
{networks}
control/       the same parts twice, shrunk and enlarged by Lanczos, a filter that no real image knows, by the
               factor in the folder's name. They belong to neither class: a detector that calls them generated
               takes enlargement for a network.
images.csv     path, label, generator, group, split: all parts of one picture share a group and a split.
control.csv    the same for the control, whose pictures are all of the test.
{note_name}
               what every verdict shows of a model that learns from these images; glass build reads it.

Sizes, formats, qualities and chroma subsampling are drawn alike for all. Score the control by itself:
glass predict RUN {controls}
"""


def of_simulation(scenes: str) -> str:
    """The README for simulated generators; ``scenes`` are words for what the images show, such as "drawn scenes"."""
    names = ", ".join(GENERATORS)
    return _SIMULATION.format(scenes=scenes, count=len(GENERATORS), names=names, note_name=NOTE_NAME)


def of_networks(names: Sequence[str], unseen: Sequence[str]) -> str:
    """The README for real networks, with the source and licence of each. The networks ``unseen``, whose images
    only the test has, are marked."""
    marks = dict.fromkeys(names, "") | dict.fromkeys(unseen, ", test only")
    lines = "\n".join(f"               {name}: {NETWORKS[name].source}{mark}" for name, mark in marks.items())
    controls = " ".join(f"control/{name}" for name in CONTROLS)
    return _NETWORKS.format(networks=lines, controls=controls, note_name=NOTE_NAME)
