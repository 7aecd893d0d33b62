"""Makes and writes the images of one scene or photograph, in any process."""

from pathlib import Path

from PIL import Image

from shards.files.atomic import write_bytes_atomic

from .camera import draw_camera, photograph
from .encoding import encode
from .generators import SIZE_MULTIPLE, regenerate
from .photos import cut_scene, open_half
from .plan import Job, Rendition
from .randomness import Stream, stream
from .scenes import draw_scene

__all__ = ["render", "render_job"]


def render_job(job: Job, out: Path, seed: int) -> int:
    """Writes the job's images that do not exist under ``out`` yet. Returns the total number of pixels in all its
    images, including those that already existed.
    """
    missing = [rendition for rendition in job.renditions if not (out / rendition.path).exists()]
    half = open_half(job.photo) if job.photo and missing else None
    for rendition in missing:
        image = render(rendition, half, seed)
        write_bytes_atomic(out / rendition.path, encode(image, rendition.encoding))
    return sum(rendition.width * rendition.height for rendition in job.renditions)


def render(rendition: Rendition, half: Image.Image | None, seed: int) -> Image.Image:
    """Renders ``rendition`` as an RGB image with the planned size. The scene is cut from ``half``, a photograph at half
    its resolution or less; if that is None, the scene is drawn.

    Real and generated images start from the same camera model, so both have the same brightness, noise and sharpness.
    The only difference is that a generator has shrunk the generated images and enlarged them again.
    """
    width, height = _round_up(rendition.width), _round_up(rendition.height)
    if half is None:
        scene = draw_scene(stream(seed, Stream.SCENE, rendition.scene), width, height)
    else:
        framing = stream(seed, Stream.FRAMING, rendition.number)
        scene = cut_scene(half, framing, width, height)
    rng = stream(seed, Stream.CAMERA, rendition.number)
    photo = photograph(scene, draw_camera(rng), rng)
    image = Image.merge("RGB", [Image.fromarray(plane) for plane in photo])
    if rendition.generator:
        rng = stream(seed, Stream.GENERATOR, rendition.number)
        image = regenerate(image, rendition.generator, rng)
    return image.crop((0, 0, rendition.width, rendition.height))


def _round_up(side: int) -> int:
    return -(-side // SIZE_MULTIPLE) * SIZE_MULTIPLE
