"""Compares GPU decoders' pixels with libjpeg-turbo's, on crops spliced out of synthetic photographs."""

import io
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.corpora.synthetic import draw_photograph
from bench.gpu.part import Answer, Cell, Part, Setting, done, figure

__all__ = ["PIXELS", "spliced_jobs"]

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "4:2:0": ("RGB", {"subsampling": "4:2:0"}),
    "4:2:2": ("RGB", {"subsampling": "4:2:2"}),
    "4:4:4": ("RGB", {"subsampling": "4:4:4"}),
    "grey": ("L", {}),
}
WIDTH, HEIGHT, CROP, CROPS = 1021, 765, 224, 16
DECODERS: tuple[Literal["nvjpeg", "dali"], ...] = ("nvjpeg", "dali")


def _cells(setting: Setting) -> list[Cell]:
    return [
        Cell(f"{decoder}, {kind}", partial(_compare, setting, decoder, kind)) for decoder in DECODERS for kind in KINDS
    ]


def _compare(setting: Setting, decoder: Literal["nvjpeg", "dali"], kind: str, _: float) -> Answer:
    import torch

    from loaders.config import LoaderConfig
    from loaders.decode.choose import choose_decoder, choose_host_decoder
    from loaders.stats import LoaderStats

    jobs, stats = spliced_jobs(kind), LoaderStats()
    config = LoaderConfig(backend=decoder, device=setting.device, num_crops=CROPS, crop_size=CROP)
    shape = (CROPS, CROP, CROP, 3)
    here = torch.empty(shape, dtype=torch.uint8, device=setting.device)
    turbo = torch.empty(shape, dtype=torch.uint8)
    leaf = choose_decoder(config, 1, stats)
    failures = leaf.decode(jobs, here) + choose_host_decoder("turbo").decode(jobs, turbo)
    found = here.cpu().numpy()
    leaf.close()
    if failures:
        raise RuntimeError(f"{failures[0].reason}: {failures[0].detail}")
    difference = np.abs(found.astype(np.int16) - turbo.numpy())
    figures = {
        "crops": CROPS,
        "on_host": stats.snapshot()["on_host"],
        "largest": int(difference.max()),
        "mean": float(difference.mean()),
        "share_that_differs": float((difference > 0).mean()),
    }
    words = f"differs from libjpeg-turbo by at most {figures['largest']} grey levels, {figures['mean']:.4f} on average"
    return figures, words + (f"; decoded on the CPU: {figures['on_host']}" if figures["on_host"] else "")


@cache
def _drawn() -> npt.NDArray[np.uint8]:
    return draw_photograph(WIDTH, HEIGHT, np.random.default_rng(0))


@cache
def spliced_jobs(kind: str) -> list[Any]:
    """Draws a photograph, encodes it as a JPEG of the given ``kind``, and splices crops out of it. Returns one
    :class:`loaders.decode.jobs.WindowJob` per crop."""
    from loaders.decode.jobs import WindowJob
    from shards.jpeg.entry_points import build_entry_points
    from shards.jpeg.splice.splicer import TAIL_BYTES, Splicer

    mode, options = KINDS[kind]
    file = io.BytesIO()
    Image.fromarray(_drawn()).convert(mode).save(file, "JPEG", quality=92, **options)
    jpeg = np.frombuffer(file.getvalue(), np.uint8)
    rng = np.random.default_rng(1)
    corners = np.stack([rng.integers(0, HEIGHT - CROP, CROPS), rng.integers(0, WIDTH - CROP, CROPS)], 1)
    windows = np.concatenate([corners, np.full((CROPS, 2), CROP)], 1).astype(np.int32)
    entry_points = np.frombuffer(build_entry_points(file.getvalue()), np.uint8)
    spliced = Splicer().splice_batch([jpeg], [entry_points], windows, np.zeros(CROPS, np.int64))
    if spliced.status.any():
        raise RuntimeError(f"a window could not be spliced: {spliced.status.tolist()}")
    return [
        WindowJob(
            padded=spliced.data[start : stop + TAIL_BYTES],
            num_bytes=int(stop - start),
            height=int(size[0]),
            width=int(size[1]),
            window=(*origin.tolist(), CROP, CROP),
            slot=slot,
            sample=slot,
            mode=mode,
        )
        for slot, (start, stop, size, origin) in enumerate(
            zip(spliced.offsets[:-1], spliced.offsets[1:], spliced.size, spliced.origin, strict=True)
        )
    ]


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    said = []
    for decoder in DECODERS:
        mine = [row for row in done(rows) if row["cell"].startswith(f"{decoder},")]
        if mine:
            worst = max(mine, key=lambda row: (figure(row, "largest"), figure(row, "mean")))
            kind = worst["cell"].split(", ")[1]
            said.append(f"{decoder} differs by at most {figure(worst, 'largest'):.0f} grey levels ({kind})")
    return "; ".join(said) or "no pixels were compared"


PIXELS = Part("pixels", 0.07, _cells, _verdict)
