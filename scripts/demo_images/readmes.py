"""The texts written beside the images: the folder's README.txt, and the note shown with every verdict."""

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
generated/  {scenes} of the same kind, rendered by the simulated last stages of {count} generators:
            {names}.
images.csv  path, label, generator, group; renditions of one scene share a group, and the images of a
            group must never be spread over training and test.
{note_name}
            a note that is shown with every verdict of a model trained on these images; glass build reads it.

The classes differ at native resolution only, by how neighbouring pixels are correlated. Sizes,
formats and qualities are drawn in the same way for both. A detector that separates them shows that the
software works. It does not show how well the detector does on images of real generators.
"""

_NETWORKS = """\
Parts of photographs, and the same parts rendered again by published networks; made by `glass make-demo --networks`.

real/          parts of the photographs at full resolution; those in real/enlarged were shrunk and enlarged again by
               a plain filter, 1.2 to 4 times. These are half of the real images for testing and most of those for
               training, so train with --set loader.class_balanced=true.
generated/     parts that were shrunk and enlarged again by a network, at the same size:
{networks}
control/       the same parts, shrunk and enlarged by Lanczos (no real image is enlarged by it), by the factor in
               the folder's name. They belong to neither class: a detector that calls them generated mistakes
               enlargement for the work of a network.
images.csv     path, label, generator, group, split: all parts of one picture share a group and a split.
control.csv    the same for the control, whose parts all belong to the test split.
{note_name}
               a note that is shown with every verdict of a model trained on these images; glass build reads it.

Sizes, formats, qualities and chroma subsampling are drawn in the same way for all. Score the control by itself:
glass predict RUN {controls}
"""


def of_simulation(scenes: str) -> str:
    """The README text for simulated generators. ``scenes`` says what the images show, such as "drawn scenes"."""
    names = ", ".join(GENERATORS)
    return _SIMULATION.format(scenes=scenes, count=len(GENERATORS), names=names, note_name=NOTE_NAME)


def of_networks(names: Sequence[str], unseen: Sequence[str]) -> str:
    """The README text for real networks, with the source and licence of each. It marks the networks in ``unseen``,
    whose images occur only in the test split.
    """
    marks = dict.fromkeys(names, "") | dict.fromkeys(unseen, ", test only")
    lines = "\n".join(f"               {name}: {NETWORKS[name].source}{mark}" for name, mark in marks.items())
    controls = " ".join(f"control/{name}" for name in CONTROLS)
    return _NETWORKS.format(networks=lines, controls=controls, note_name=NOTE_NAME)
