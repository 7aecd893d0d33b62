"""Builds small shards."""

from pathlib import Path

from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.build.split import parse_shares

SETTINGS = BuildSettings(split_shares=parse_shares("0.5,0.25,0.25"), samples_per_shard=4, global_size=32)


def build(source, out, workers=1, **changes):
    settings = BuildSettings(**{**{n: getattr(SETTINGS, n) for n in SETTINGS.__slots__}, **changes})
    return build_dataset(Path(source), Path(out), settings, workers, progress=False)
