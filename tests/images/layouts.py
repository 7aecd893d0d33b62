"""Imitations of public data sets for detectors of generated images, in the state in which they are downloaded. Only
names and folder structure are imitated, as far as the sets' sources show them. The pictures are a few pixels of
noise."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

__all__ = ["FOLDERS", "Layout", "picture", "write_layout", "written_as"]

Expected = tuple[str, int, str, str]
"""(folder of an image, label, generator, split): what ``glass build`` must record for the images of this folder."""


@dataclass(frozen=True)
class Layout:
    """An imitation of a public set: its files, the build options that it needs, and what the build must record for some
    of its images."""

    name: str
    folders: tuple[str, ...]
    """The folders of the set. Two pictures, named 0000 and 0001, are written into each."""
    expected: tuple[Expected, ...]
    options: tuple[str, ...] = ()
    suffix: str = ".png"
    write: Callable[[Path], None] | None = None
    """Writes further files into the folder, such as tables."""
    source: str = ""
    """The source to give to ``glass build``, relative to the set's folder; "" for the folder itself."""
    passed_over: int = 0
    """Number of images that have no class and are therefore skipped."""
    known_as: str = ""
    """The set's name in ``docs/public-data.md``."""


def picture(*seed: int) -> Image.Image:
    """A few pixels of noise, different for each seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24 + seed[-1] % 2, 32, 3), np.uint8))


@cache
def _encoded(number: int, place: int, suffix: str) -> bytes:
    """Returns the bytes that ``picture(number, place)`` has as a file with this suffix."""
    buffer = io.BytesIO()
    picture(number, place).save(buffer, Image.registered_extensions()[suffix.lower()])
    return buffer.getvalue()


def write_layout(root: Path, layout: Layout) -> str:
    """Writes the imitation into ``root``. Returns the source for ``glass build``, relative to ``root``."""
    folder = root / layout.name
    for number, name in enumerate(layout.folders):
        for place in range(2):
            path = folder / name / f"{place:04}{layout.suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_encoded(number, place, layout.suffix))
    if layout.write is not None:
        layout.write(folder)
    return written_as(layout)


def written_as(layout: Layout) -> str:
    """The source for ``glass build`` that :func:`write_layout` returns, relative to its ``root``."""
    return f"{layout.name}/{layout.source}" if layout.source else layout.name


def table(name: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Callable[[Path], None]:
    """Returns a function that writes a CSV file ``name`` into a given folder."""

    def write(folder: Path) -> None:
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])

    return write


def all_of(*writers: Callable[[Path], None]) -> Callable[[Path], None]:
    """Returns a function that calls all ``writers`` with a given folder."""

    def write(folder: Path) -> None:
        for writer in writers:
            writer(folder)

    return write


def text(*names: str) -> Callable[[Path], None]:
    """Returns a function that writes text files with these ``names`` into a given folder."""

    def write(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("not a picture\n", encoding="utf-8")

    return write


def inside(
    columns: Callable[[Sequence[int]], dict[str, object]], image: str = "image", about: dict[str, object] | None = None
) -> Callable[[Path], None]:
    """Returns a function that writes two Parquet files, for train and test, with four images each. ``columns`` takes a
    list of image indices and returns the values of all columns except the image.

    Images are structs as ``datasets`` writes them if the column ``image`` is named "image", and plain bytes otherwise.
    ``about`` adds features to the schema's metadata.
    """

    def write(folder: Path) -> None:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        for split, numbers in (("train", range(4)), ("test", range(4, 8))):
            images: list[object] = []
            for number in numbers:
                picture(number, 99).save(buffer := io.BytesIO(), "PNG")
                data = buffer.getvalue()
                images.append({"bytes": data, "path": f"{number}.png"} if image == "image" else data)
            table = pa.table({image: images, **columns(list(numbers))})
            if about is not None:
                info = {"info": {"features": {"image": {"_type": "Image"}, **about}}}
                table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
            pq.write_table(table, folder / f"data/{split}-00000-of-00001.parquet")

    return write


def fake(numbers: Sequence[int]) -> list[bool]:
    """Whether each image is generated. Every other one is."""
    return [number % 2 == 1 for number in numbers]


def _class(*names: str) -> dict[str, object]:
    return {"names": list(names), "_type": "ClassLabel"}


SPLITS = ("train", "valid", "test")
FOLDERS = (
    Layout(
        "plain",
        ("real", "generated/sdxl", "generated/gan/part-1"),
        (("real", 0, "", ""), ("generated/sdxl", 1, "sdxl", ""), ("generated/gan/part-1", 1, "gan", "")),
    ),
    Layout(
        "CIFAKE",
        ("train/FAKE", "train/REAL", "test/FAKE", "test/REAL"),
        (("train/FAKE", 1, "unknown", "train"), ("test/REAL", 0, "", "test")),
        suffix=".jpg",
        known_as="CIFAKE",
    ),
    Layout(
        "GenImage",
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
        known_as="GenImage",
    ),
    Layout(
        "tiny-genimage",
        tuple(
            f"{generator}/{split}/{word}"
            for generator in ("imagenet_ai_0419_biggan", "imagenet_glide")
            for split in ("train", "val")
            for word in ("ai", "nature")
        ),
        (("imagenet_glide/train/ai", 1, "imagenet_glide", "train"),),
        known_as="Tiny-GenImage (Kaggle)",
    ),
    Layout(
        "imagenet_ai_0419_sdv4",
        tuple(f"{split}/{word}" for split in ("train", "val") for word in ("ai", "nature")),
        (("train/ai", 1, "unknown", "train"), ("val/nature", 0, "", "valid")),
    ),
    Layout(
        "CNN_synth_testset",
        ("progan/airplane/0_real", "progan/airplane/1_fake", "progan/car/1_fake", "deepfake/0_real", "deepfake/1_fake"),
        (("progan/car/1_fake", 1, "progan", ""), ("deepfake/0_real", 0, "", "")),
        known_as="ForenSynths, test",
    ),
    Layout(
        "progan_train",
        ("airplane/0_real", "airplane/1_fake", "cat/0_real", "cat/1_fake"),
        (("airplane/1_fake", 1, "airplane", ""), ("cat/0_real", 0, "", "")),
        known_as="ForenSynths, train",
    ),
    Layout(
        "diffusion_datasets",
        ("imagenet/0_real", "laion/0_real", "dalle/1_fake", "glide_50_27/1_fake", "ldm_200_cfg/1_fake"),
        (("laion/0_real", 0, "", ""), ("glide_50_27/1_fake", 1, "glide_50_27", "")),
        known_as="UniversalFakeDetect",
    ),
    Layout(
        "AIGCDetectBenchmark",
        ("test/ADM/0_real", "test/ADM/1_fake", "test/stylegan2/horse/0_real", "test/stylegan2/horse/1_fake"),
        (("test/ADM/1_fake", 1, "ADM", "test"), ("test/stylegan2/horse/1_fake", 1, "stylegan2", "test")),
        known_as="AIGCDetectBenchmark",
    ),
    Layout(
        "WildFake",
        (
            "Diffusion_based/DALLE/Advanced/DALLE3",
            "Diffusion_based/VQDM",
            "GAN_based/BigGAN",
            "Real/coco/val2017",
            "Real/ffhq",
        ),
        (("Diffusion_based/DALLE/Advanced/DALLE3", 1, "DALLE", ""), ("Real/coco/val2017", 0, "", "")),
        options=("--generator-level", "2", "--no-given-split"),
        known_as="WildFake",
    ),
    Layout(
        "DRCT-2M",
        (*("MSCOCO/train2017", "MSCOCO/val2017", "ldm-text2im-large-256/train2017"), "stable-diffusion-v1-4/val2017"),
        (("MSCOCO/train2017", 0, "", "train"), ("stable-diffusion-v1-4/val2017", 1, "stable-diffusion-v1-4", "valid")),
        options=("--label", "MSCOCO=real"),
        known_as="DRCT-2M with MSCOCO beside it",
    ),
    Layout(
        "TestSet",
        ("FLUX/0_real", "FLUX/1_fake", "Janus-Pro-7B/0_real", "Janus-Pro-7B/1_fake"),
        (("Janus-Pro-7B/1_fake", 1, "Janus-Pro-7B", ""),),
        known_as="AIGI-Holmes, test",
    ),
    Layout(
        "Chameleon",
        ("test/0_real", "test/1_fake"),
        (("test/1_fake", 1, "unknown", "test"), ("test/0_real", 0, "", "test")),
        suffix=".jpg",
        known_as="Chameleon",
    ),
    Layout(
        "WildRF",
        ("train/0_real", "train/1_fake", "val/0_real", "val/1_fake", "test/reddit/0_real", "test/reddit/1_fake"),
        (("train/1_fake", 1, "unknown", "train"), ("test/reddit/1_fake", 1, "reddit", "test")),
        known_as="WildRF",
    ),
    Layout(
        "AIGIBench",
        (
            "train/sdv1.4/0_real",
            "train/sdv1.4/1_fake",
            "val/car/0_real",
            "val/car/1_fake",
            "test/R3GAN/0_real",
            "test/R3GAN/1_fake",
        ),
        (("train/sdv1.4/1_fake", 1, "sdv1.4", "train"), ("test/R3GAN/0_real", 0, "", "test")),
        known_as="AIGIBench",
    ),
    Layout(
        "140k-faces",
        tuple(f"real_vs_fake/real-vs-fake/{split}/{word}" for split in SPLITS for word in ("fake", "real")),
        (("real_vs_fake/real-vs-fake/valid/fake", 1, "real-vs-fake", "valid"),),
        suffix=".jpg",
        known_as="140k real and fake faces",
    ),
    Layout(
        "ai-art",
        ("RealArt/RealArt", "AiArtData/AiArtData"),
        (("RealArt/RealArt", 0, "", ""), ("AiArtData/AiArtData", 1, "unknown", "")),
        suffix=".jpg",
        known_as="AI generated images vs real images",
    ),
    Layout(
        "images",
        tuple(f"{split}/lsun_bedroom/{word}" for split in ("train", "val", "test") for word in ("real", "adm", "ddpm")),
        (("train/lsun_bedroom/adm", 1, "adm", "train"), ("test/lsun_bedroom/real", 0, "", "test")),
        known_as="DiffusionForensics, images/",
    ),
    Layout(
        "ai-vs-human",
        ("train_data", "test_data_v2"),
        (("train_data", 0, "", ""),),
        options=("--label", "0=real", "--label", "1=generated"),
        suffix=".jpg",
        source="train.csv",
        write=all_of(
            table("train.csv", ("", "file_name", "label"), [(n, f"train_data/{n:04}.jpg", n % 2) for n in range(2)]),
            table("test.csv", ("id",), [(f"test_data_v2/{n:04}.jpg",) for n in range(2)]),
        ),
        passed_over=2,
        known_as="AI vs human generated images",
    ),
    Layout(
        "ArtiFact",
        ("afhq", "ddpm"),
        (("afhq", 0, "", ""), ("ddpm", 1, "ddpm", "")),
        options=("--label", "0=real", "--label", "1=generated", "--generator-level", "1"),
        suffix=".jpg",
        write=all_of(
            *(
                table(
                    f"{name}/metadata.csv",
                    ("image_path", "target", "category"),
                    [(f"{n:04}.jpg", target, "cat") for n in range(2)],
                )
                for name, target in (("afhq", 0), ("ddpm", 1))
            )
        ),
        known_as="ArtiFact",
    ),
    Layout(
        "CIFAKE-image-dataset",
        (),
        (
            ("data/train-00000-of-00001.parquet/000000000", 0, "", "train"),
            ("data/test-00000-of-00001.parquet/000000003", 1, "unknown", "test"),
        ),
        write=inside(
            lambda numbers: {"label": [int(not f) for f in fake(numbers)]}, about={"label": _class("FAKE", "REAL")}
        ),
        known_as="CIFAKE, mirror on the hub",
    ),
    Layout(
        "OpenFake",
        (),
        (
            ("data/train-00000-of-00001.parquet/000000001", 1, "sdxl", "train"),
            ("data/test-00000-of-00001.parquet/000000000", 0, "", "test"),
        ),
        write=inside(
            lambda numbers: {
                "prompt": ["a cat"] * len(numbers),
                "label": ["fake" if f else "real" for f in fake(numbers)],
                "model": ["sdxl" if f else "real" for f in fake(numbers)],
            }
        ),
        known_as="OpenFake",
    ),
    Layout(
        "CommunityForensics-Small",
        (),
        (
            ("data/train-00000-of-00001.parquet/000000001", 1, "sd15", "train"),
            ("data/test-00000-of-00001.parquet/000000000", 0, "", "test"),
        ),
        options=("--label", "0=real", "--label", "1=generated"),
        write=inside(
            lambda numbers: {
                "image_name": [f"{number}.png" for number in numbers],
                "model_name": ["sd15" if f else "real" for f in fake(numbers)],
                "label": [int(f) for f in fake(numbers)],
            },
            "image_data",
        ),
        known_as="Community Forensics, small",
    ),
    Layout(
        "Tiny-GenImage",
        (),
        (
            ("data/train-00000-of-00001.parquet/000000001", 1, "BigGAN", "train"),
            ("data/test-00000-of-00001.parquet/000000000", 0, "", "test"),
        ),
        write=inside(
            lambda numbers: {
                "label": [int(f) for f in fake(numbers)],
                "generator": [2 if f else 0 for f in fake(numbers)],
            },
            about={"label": _class("real", "fake"), "generator": _class("Real", "ADM", "BigGAN")},
        ),
        known_as="Tiny-GenImage (hub)",
    ),
    Layout(
        "Defactify_Image_Dataset",
        (),
        (
            ("data/train-00000-of-00001.parquet/000000001", 1, "unknown", "train"),
            ("data/test-00000-of-00001.parquet/000000000", 0, "", "test"),
        ),
        options=("--label", "0=real", "--label", "1=generated"),
        write=inside(
            lambda numbers: {"Label_A": [int(f) for f in fake(numbers)], "Label_B": [3 * int(f) for f in fake(numbers)]}
        ),
        known_as="Defactify",
    ),
    Layout(
        "beside",
        ("images/real", "images/midjourney", "images/dalle3", "images/masks"),
        (("images/real", 0, "", ""), ("images/dalle3", 1, "dalle3", "")),
        write=text("images/prompts.txt", "LICENSE"),
        passed_over=2,
    ),
)
