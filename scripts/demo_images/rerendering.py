"""Plans and makes images from parts of photographs: real ones, and ones re-rendered by networks.

Images of both classes are cut from the photographs at full resolution, and stored in the same way. A generated image is
shrunk, then enlarged again by a network before it is stored. Some real images are also shrunk and enlarged, so that
enlargement alone does not give the classes away; this uses many different filters and factors, but not a network.

The control is a set of images that belong to neither class. They are enlarged with a filter that is not used for real
images. If a detector calls them generated, it mistakes any enlargement for a network's work. In this module, an image's
maker is the name of the network or filters that enlarged it, or ``AS_CUT`` if it was not enlarged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, cycle, islice, repeat
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from shards.files.atomic import write_bytes_atomic
from shards.images.resize import resized_image

from .encoding import Encoding, draw_encoding, encode
from .enlarging import BROAD, SHARP, draw_factor, enlarge_plainly
from .networks import MARGIN, NETWORKS, enlarge
from .photos import Photo, open_whole
from .randomness import Stream, stream

__all__ = ["CONTROLS", "Cutting", "PhotoJob", "plan_rerendered", "render_photo"]

AS_CUT, ENLARGED, SHARPLY = "", "enlarged", "sharply enlarged"
MIXES = {ENLARGED: BROAD, SHARPLY: SHARP}
"""Maps the makers of enlarged real images to their mixes of filters."""
CONTROLS = {"lanczos-2": 2.0, "lanczos-1.7": 1.7}
"""Maps the makers of the control's parts to the factors by which their images are shrunk and enlarged. The default
networks use 2; 1.7 is an example of a factor that is not an integer."""
FACTORS = CONTROLS | {name: float(network.scale) for name, network in NETWORKS.items()}
SIDES = (512, 768)
SIDE_MULTIPLE = 4  # what every network's scale divides
QUALITIES = (88, 95)
TEST_SHARE = 0.3
ENLARGED_SHARE = 0.5
"""Share of the real images that are enlarged. Real images that are added for training do not count."""
ADDED = {SHARPLY: (8, 1_000_000), AS_CUT: (3, 2_000_000)}
"""Real images added for training: maps their makers to (times, first). For each generated image cut from a training
picture, ``times`` real images are added; ``first`` is the index of the first one. They do not need a network.

They are added for two reasons. First, with only a few hundred images, each filter and factor would occur too rarely.
Second, if nearly all real training images are enlarged, a detector calls real images generated. The added images do not
affect the others, or vice versa."""
CONTROL_SHARE = 0.1
"""Number of images in each part of the control, relative to the number of images in both classes."""
UNSEEN_SHARE = 0.05
"""Number of images from each unseen network (one whose images occur only in the test split), relative to the number of
images in both classes."""
SHRINKING = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
PLACES = 3
"""Number of random positions tried for each image. The one with the most detail is used, since a cloudless sky shows no
traces."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """One image to make."""

    number: int
    """The image's index. It seeds all of the image's random properties."""
    maker: str
    """A key of ``NETWORKS``, :data:`CONTROLS` or :data:`MIXES`; or :data:`AS_CUT` if the image is not enlarged."""
    group: str
    split: str
    """``train`` or ``test``, the same for all images cut from a picture."""
    width: int
    height: int
    encoding: Encoding

    @property
    def generator(self) -> str:
        """The name of the network that made the image; empty for real images and the control."""
        return self.maker if self.maker in NETWORKS else ""

    @property
    def path(self) -> PurePosixPath:
        """Path of the image relative to the output folder."""
        folder = f"control/{self.maker}" if self.maker in CONTROLS else f"generated/{self.maker}"
        folder = {AS_CUT: "real", ENLARGED: "real/enlarged", SHARPLY: "real/enlarged"}.get(self.maker, folder)
        return PurePosixPath(folder, f"{self.number:06d}.{self.encoding.suffix}")


@dataclass(frozen=True, slots=True)
class PhotoJob:
    """The images cut from one photograph, made together so that it is decoded only once."""

    photo: Path
    renditions: list[Cutting] = field(default_factory=list)


def plan_rerendered(
    images: int,
    seed: int,
    photos: Sequence[Photo],
    pictures: Sequence[int],
    networks: Sequence[str],
    unseen: Sequence[str] = (),
) -> list[PhotoJob]:
    """Plans ``images`` images in pairs: a real and a generated image, cut from the same photograph. ``pictures[i]`` is
    the index of the picture that ``photos[i]`` shows; there must be at least two pictures.

    Further images are planned without affecting these:

    - from test pictures: the control, and the images from the ``unseen`` networks
    - from training pictures: more real images (:data:`ADDED`)
    """
    jobs = [PhotoJob(photo.path) for photo in photos]
    test = _test_pictures(seed, pictures)
    for_test = [index for index, picture in enumerate(pictures) if picture in test]
    rng = stream(seed, Stream.PLAN)
    makers = _makers(images, networks)
    order = [
        # A real and a generated image each time, so that a picture does not reveal the class.
        *chain.from_iterable(repeat(index, 2) for index in _rounds(rng, range(len(photos)), images // 2 + 1))
    ][:images]
    # The parts of the control are the same cuttings.
    of_test = [(tuple(CONTROLS), CONTROL_SHARE), *(((name,), UNSEEN_SHARE) for name in unseen)]
    for together, share in of_test:
        count = max(1, round(share * images))
        makers += repeat(together, count)
        order += _rounds(rng, for_test, count)
    for number, (together, index) in enumerate(zip(makers, order, strict=True)):
        cutting = _cutting(number, seed, photos[index], pictures[index], is_test=index in for_test)
        jobs[index].renditions.extend(replace(cutting, maker=maker) for maker in together)
    for_training = [index for index in range(len(photos)) if index not in for_test]
    generated = sum(number % 2 for number in range(images) if order[number] in for_training)
    for part, (maker, (times, first)) in enumerate(ADDED.items(), 1):
        added = _rounds(stream(seed, Stream.PLAN, part), for_training, times * generated)
        for number, index in enumerate(added, first):
            cutting = _cutting(number, seed, photos[index], pictures[index], is_test=False)
            jobs[index].renditions.append(replace(cutting, maker=maker))
    return [job for job in jobs if job.renditions]


def _cutting(number: int, seed: int, photo: Photo, picture: int, *, is_test: bool) -> Cutting:
    """Plans the image with index ``number``. Its maker is :data:`AS_CUT`, which callers replace if the image is to be
    enlarged.
    """
    rng = stream(seed, Stream.FILE, number)
    width, height = (int(side) // SIDE_MULTIPLE * SIDE_MULTIPLE for side in rng.integers(*SIDES, 2, endpoint=True))
    return Cutting(
        number,
        AS_CUT,
        f"picture-{picture:06d}",
        "test" if is_test else "train",
        min(width, photo.width // 2),
        min(height, photo.height // 2),
        draw_encoding(rng, QUALITIES),
    )


def render_photo(job: PhotoJob, out: Path, seed: int) -> int:
    """Writes the job's images that do not exist under ``out`` yet. Returns the total number of pixels in all its
    images, including those that already existed.
    """
    missing = [cutting for cutting in job.renditions if not (out / cutting.path).exists()]
    if missing:
        photo = open_whole(job.photo)
        for cutting in missing:
            image = render(cutting, photo, seed)
            write_bytes_atomic(out / cutting.path, encode(image, cutting.encoding))
    return sum(cutting.width * cutting.height for cutting in job.renditions)


def render(cutting: Cutting, photo: Image.Image, seed: int) -> Image.Image:
    """Renders ``cutting``, a part of ``photo``, as an RGB image with the planned size."""
    native = _cut(cutting, photo, stream(seed, Stream.FRAMING, cutting.number))
    if cutting.maker:
        native = _made_again(native, cutting.maker, stream(seed, Stream.RESIZE, cutting.number))
    return native.crop((MARGIN, MARGIN, MARGIN + cutting.width, MARGIN + cutting.height))


def _made_again(native: Image.Image, maker: str, rng: np.random.Generator) -> Image.Image:
    factor = draw_factor(rng, MIXES[maker]) if maker in MIXES else FACTORS[maker]
    size = (round(native.width / factor), round(native.height / factor))
    small = resized_image(native, size, SHRINKING[rng.integers(len(SHRINKING))])
    if maker in NETWORKS:
        return enlarge(maker, small)
    if maker in CONTROLS:
        return small.resize(native.size, Image.Resampling.LANCZOS)
    return enlarge_plainly(small, native.size, rng, MIXES[maker])


def _cut(cutting: Cutting, photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Returns the part of ``photo`` chosen for ``cutting``, plus a margin of at least :data:`MARGIN` pixels on each
    side, which :func:`render` cuts away."""
    width, height = map(_with_margin, (cutting.width, cutting.height))
    lefts = rng.integers(photo.width - width + 1, size=PLACES)
    tops = rng.integers(photo.height - height + 1, size=PLACES)
    parts = [photo.crop((left, top, left + width, top + height)) for left, top in zip(lefts, tops, strict=True)]
    return max(parts, key=_detail)


def _with_margin(side: int) -> int:
    return -(-(side + 2 * MARGIN) // SIDE_MULTIPLE) * SIDE_MULTIPLE


def _detail(part: Image.Image) -> float:
    """Measures the detail in ``part``, in grey values.

    The measure is the mean absolute difference between pixels two columns apart, plus that between pixels two rows
    apart. Noise would have more influence if adjacent pixels were compared.
    """
    grey = np.asarray(part.convert("L"), np.float32)
    return float(np.abs(grey[:, 2:] - grey[:, :-2]).mean() + np.abs(grey[2:] - grey[:-2]).mean())


def _makers(images: int, networks: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns, for each of ``images`` images, a tuple with its maker's name. (Tuples with several names are used only
    for the control, which is planned elsewhere.)

    Real and generated images alternate, the networks are used in rotation, and every second real image is enlarged
    (:data:`ENLARGED_SHARE`).
    """
    reals = (AS_CUT,) * (round(1 / ENLARGED_SHARE) - 1) + (ENLARGED,)
    in_turn = zip(cycle(reals), cycle(networks), strict=False)
    return [(maker,) for maker in islice(chain.from_iterable(in_turn), images)]


def _rounds(rng: np.random.Generator, indexes: Sequence[int], count: int) -> list[int]:
    """Returns ``count`` items from ``indexes``, with frequencies that differ by at most one.

    They are a sequence of random permutations of ``indexes`` (the last one truncated), so a photograph that is used
    several times is not always paired with the same network.
    """
    rounds = (rng.permutation(indexes).tolist() for _ in range(0, count, len(indexes)))
    return list(islice(chain.from_iterable(rounds), count))


def _test_pictures(seed: int, pictures: Sequence[int]) -> frozenset[int]:
    names = sorted(set(pictures))
    count = min(max(1, round(TEST_SHARE * len(names))), len(names) - 1)
    return frozenset(stream(seed, Stream.SPLIT).permutation(names)[:count].tolist())
