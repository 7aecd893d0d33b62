"""Plans the demo images before any is made: the class, scene, size and format of each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath

from .encoding import Encoding, draw_encoding, draw_size
from .generators import GENERATORS, SIZE_MULTIPLE
from .photos import Photo
from .randomness import Stream, stream

__all__ = ["MIN_IMAGES", "REAL", "Job", "Rendition", "plan_drawn", "plan_photos"]

REAL = ""  # in place of a generator's name

_FIRST, _SECOND, _THIRD = GENERATORS
# (generator, scene) of twelve images: one scene appears as a photograph and from each generator, eight appear once. If
# every scene were rendered in both classes, a classifier that remembers a training scene by its size or colours would
# be wrong about its twin, and score *below* chance.
CYCLE = (
    *((REAL, 0), (_FIRST, 0), (REAL, 1), (_SECOND, 0), (REAL, 2), (_THIRD, 0)),
    *((REAL, 3), (_FIRST, 4), (REAL, 5), (_SECOND, 6), (REAL, 7), (_THIRD, 8)),
)
SCENES_PER_CYCLE = 9
MIN_IMAGES = len(CYCLE)


@dataclass(frozen=True, slots=True)
class Rendition:
    """One image to make."""

    number: int
    """The image's index, from 0. It seeds all of the image's random properties except its scene."""
    scene: int
    generator: str
    """A key of ``GENERATORS``, or :data:`REAL` for a real image."""
    group: str
    width: int
    height: int
    encoding: Encoding

    @property
    def path(self) -> PurePosixPath:
        """The image's path, relative to the output folder."""
        folder = f"generated/{self.generator}" if self.generator else "real"
        return PurePosixPath(folder, f"{self.number:06d}.{self.encoding.suffix}")


@dataclass(frozen=True, slots=True)
class Job:
    """All renditions of one scene or photograph, made together because decoding a photograph is slow."""

    photo: Path | None
    """The photograph to cut from; None for a drawn scene."""
    renditions: list[Rendition] = field(default_factory=list)


def plan_drawn(images: int, seed: int) -> list[Job]:
    """Plans ``images`` renditions of drawn scenes; half of them are real."""
    jobs: dict[int, Job] = {}
    for number in range(images):
        generator, scene = _slot(number)
        width, height, encoding = _file(number, seed)
        rendition = Rendition(number, scene, generator, f"scene-{scene:06d}", width, height, encoding)
        jobs.setdefault(scene, Job(None)).renditions.append(rendition)
    return list(jobs.values())


def plan_photos(images: int, seed: int, photos: Sequence[Photo], pictures: Sequence[int]) -> list[Job]:
    """Plans ``images`` renditions of photographs, half of them with the label real. ``pictures[i]`` is the index of the
    picture that ``photos[i]`` shows; several photos may show the same one.
    """
    jobs = [Job(photo.path) for photo in photos]
    rng = stream(seed, Stream.PLAN)
    num_scenes = max(_slot(number)[1] for number in range(images)) + 1
    # Reshuffled each round: in a fixed order, a picture could end up in one class only.
    rounds = (rng.permutation(len(photos)).tolist() for _ in range(0, num_scenes, len(photos)))
    photo_of_scene = list(chain.from_iterable(rounds))
    for number in range(images):
        generator, scene = _slot(number)
        index = photo_of_scene[scene]
        width, height, encoding = _file(number, seed)
        width, height = _fit(width, height, photos[index])
        group = f"picture-{pictures[index]:06d}"
        jobs[index].renditions.append(Rendition(number, scene, generator, group, width, height, encoding))
    return [job for job in jobs if job.renditions]


def _slot(number: int) -> tuple[str, int]:
    """Returns (generator, scene index) for the image with index ``number``."""
    generator, scene = CYCLE[number % len(CYCLE)]
    return generator, scene + number // len(CYCLE) * SCENES_PER_CYCLE


def _file(number: int, seed: int) -> tuple[int, int, Encoding]:
    rng = stream(seed, Stream.FILE, number)
    return *draw_size(rng), draw_encoding(rng)


def _fit(width: int, height: int, photo: Photo) -> tuple[int, int]:
    """Returns (width, height) fitted into half the photograph's width and height: swapped if needed to match its
    orientation, then reduced if too large.
    """
    if (width > height) != (photo.width > photo.height):
        width, height = height, width
    # Whole multiples, since the image is made at the next multiple and then cropped.
    room_width = photo.width // 2 // SIZE_MULTIPLE * SIZE_MULTIPLE
    room_height = photo.height // 2 // SIZE_MULTIPLE * SIZE_MULTIPLE
    scale = min(1.0, room_width / width, room_height / height)
    return max(1, int(width * scale)), max(1, int(height * scale))
