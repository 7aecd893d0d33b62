"""Imitations of the layouts in which public sets for detectors of generated images are downloaded: names and
structure only, as far as their sources show them. The pictures are a few pixels of noise."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["FOLDERS", "Layout", "write_pictures"]

Expected = tuple[str, int, str, str]
"""(path, label, generator, split)."""


@dataclass(frozen=True)
class Layout:
    """One imitation: what it writes, the options that it needs, and how some of its images are to be understood."""

    name: str
    folders: tuple[str, ...]
    """Folders that hold two pictures each."""
    expected: tuple[Expected, ...]
    """Images and their meanings, without the file name: that of the folder's first picture is added."""
    options: tuple[str, ...] = ()
    suffix: str = ".png"
    write: Callable[[Path], None] | None = None
    """Writes what is no folder of pictures, such as tables."""
    passed_over: int = 0
    """Images that no name gives a class."""
    extra_files: tuple[str, ...] = field(default=())


def write_pictures(root: Path, layout: Layout) -> Path:
    """Writes the imitation below ``root``; the folder to give to ``build_shards``."""
    source = root / layout.name
    for number, folder in enumerate(layout.folders):
        for place in range(2):
            path = source / folder / f"{place:04}{layout.suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng([number, place]).integers(0, 256, (24 + place, 32, 3), np.uint8)
            Image.fromarray(noise).save(path)
    for name in layout.extra_files:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("not a picture\n", encoding="utf-8")
    if layout.write is not None:
        layout.write(source)
    return source


FOLDERS = (
    Layout(
        "plain",
        ("real", "generated/sdxl", "generated/gan/part-1"),
        (("real", 0, "", ""), ("generated/sdxl", 1, "sdxl", ""), ("generated/gan/part-1", 1, "gan", "")),
    ),
    Layout(
        "cifake",
        ("train/FAKE", "train/REAL", "test/FAKE", "test/REAL"),
        (("train/FAKE", 1, "unknown", "train"), ("test/REAL", 0, "", "test")),
        suffix=".jpg",
    ),
    Layout(
        "genimage",
        tuple(
            f"{generator}/{inside}/{split}/{word}"
            for generator, inside in (("BigGAN", "imagenet_ai_0419_biggan"), ("Midjourney", "imagenet_midjourney"))
            for split in ("train", "val")
            for word in ("ai", "nature")
        ),
        (
            ("BigGAN/imagenet_ai_0419_biggan/train/ai", 1, "BigGAN", "train"),
            ("Midjourney/imagenet_midjourney/val/nature", 0, "", "valid"),
        ),
    ),
    Layout(
        "one_generator_of_genimage",
        tuple(f"imagenet_ai_0419_biggan/{split}/{word}" for split in ("train", "val") for word in ("ai", "nature")),
        (("imagenet_ai_0419_biggan/train/ai", 1, "imagenet_ai_0419_biggan", "train"),),
    ),
    Layout(
        "forensynths_test",
        ("progan/airplane/0_real", "progan/airplane/1_fake", "progan/car/1_fake", "deepfake/0_real", "deepfake/1_fake"),
        (("progan/car/1_fake", 1, "progan", ""), ("deepfake/0_real", 0, "", "")),
    ),
    Layout(
        "forensynths_train",
        ("train/airplane/0_real", "train/airplane/1_fake", "val/cat/0_real", "val/cat/1_fake"),
        (("train/airplane/1_fake", 1, "airplane", "train"),),
    ),
    Layout(
        "diffusion_sets",
        ("imagenet/0_real", "laion/0_real", "dalle/1_fake", "glide_50_27/1_fake", "ldm_200_cfg/1_fake"),
        (("laion/0_real", 0, "", ""), ("glide_50_27/1_fake", 1, "glide_50_27", "")),
    ),
    Layout(
        "detect_benchmark",
        ("test/ADM/0_real", "test/ADM/1_fake", "test/stylegan2/horse/0_real", "test/stylegan2/horse/1_fake"),
        (("test/ADM/1_fake", 1, "ADM", "test"), ("test/stylegan2/horse/1_fake", 1, "stylegan2", "test")),
    ),
    Layout(
        "wildfake",
        ("Fake/DMs/sdxl", "Fake/GANs/biggan", "Real/coco", "Real/ffhq"),
        (("Fake/DMs/sdxl", 1, "sdxl", ""), ("Real/ffhq", 0, "", "")),
        options=("--generator-level", "3"),
    ),
    Layout(
        "drct",
        (
            "images/MSCOCO/train2017",
            "images/MSCOCO/val2017",
            "images/ldm-text2im-large-256/train2017",
            "images/stable-diffusion-v1-4/val2017",
        ),
        (
            ("images/MSCOCO/train2017", 0, "", "train"),
            ("images/stable-diffusion-v1-4/val2017", 1, "stable-diffusion-v1-4", "valid"),
        ),
        options=("--label", "MSCOCO=real"),
    ),
    Layout(
        "faces",
        tuple(
            f"real_vs_fake/real-vs-fake/{split}/{word}"
            for split in ("train", "valid", "test")
            for word in ("fake", "real")
        ),
        (("real_vs_fake/real-vs-fake/valid/fake", 1, "real-vs-fake", "valid"),),
        suffix=".jpg",
    ),
    Layout(
        "art",
        ("RealArt/RealArt", "AiArtData/AiArtData"),
        (("RealArt/RealArt", 0, "", ""), ("AiArtData/AiArtData", 1, "unknown", "")),
        suffix=".jpg",
    ),
    Layout(
        "train_and_test",
        ("train/0_real", "train/1_fake", "test/0_real", "test/1_fake"),
        (("train/1_fake", 1, "unknown", "train"), ("test/0_real", 0, "", "test")),
    ),
    Layout(
        "beside_real",
        ("images/real", "images/midjourney", "images/dalle3", "images/masks"),
        (("images/real", 0, "", ""), ("images/dalle3", 1, "dalle3", "")),
        passed_over=2,
        extra_files=("images/prompts.txt", "LICENSE"),
    ),
)
