"""Runs each fuzz module for a short time; ``python -m tests.fuzz.fuzz_<name>`` runs it for longer."""

import pytest

from tests.fuzz.fuzz_archives import ArchiveTarget
from tests.fuzz.fuzz_claims import ClaimTarget
from tests.fuzz.fuzz_dataset import DatasetTarget
from tests.fuzz.fuzz_detail import DetailTarget
from tests.fuzz.fuzz_formats import FormatTarget
from tests.fuzz.fuzz_harness import run_fuzz
from tests.fuzz.fuzz_listings import ListingTarget
from tests.fuzz.fuzz_lists import ListTarget
from tests.fuzz.fuzz_members import MemberTarget
from tests.fuzz.fuzz_plans import PlanTarget
from tests.fuzz.fuzz_ranges import RangeTarget
from tests.fuzz.fuzz_remote import RemoteTarget
from tests.fuzz.fuzz_reports import ReportTarget
from tests.fuzz.fuzz_runs import RunTarget
from tests.fuzz.fuzz_tables import FORMS, TableTarget
from tests.fuzz.fuzz_tar import TarTarget
from tests.fuzz.fuzz_views import ViewTarget

# Target, mutations by default, seed, and outcomes that prove that the mutations reach what they are meant to. The seeds
# are those, of 5 to 8, with which the fewest mutations have all outcomes.
RUNS = {
    "archives": (
        ArchiveTarget,
        30,
        6,
        ("zip: read", "zip: corrupt", "zip: refused", "tar: read", "tar.gz: read", "gz: refused"),
    ),
    "tar": (TarTarget, 20, 8, ("refused", "listed", "images", "bad members")),
    "lists": (
        ListTarget,
        30,
        6,
        (
            *(f"sources{suffix}: {end}" for suffix in (".csv", ".jsonl", ".parquet") for end in ("taken", "refused")),
            "labels.parquet: taken",
            "labels.parquet: refused",
            "groups.csv: taken",
            "groups.parquet: refused",
        ),
    ),
    "tables": (TableTarget, 50, 8, tuple(f"{form}: {end}" for form in FORMS for end in ("read", "refused"))),
    "members": (MemberTarget, 20, 5, ("tiles: opened", "tiles: read", "tiles: refused", "view: refused")),
    "formats": (
        FormatTarget,
        75,
        6,
        tuple(
            f"{kind}: {end}" for kind in ("PNG", "TIFF", "WEBP", "GIF", "BMP", "AVIF") for end in ("taken", "refused")
        ),
    ),
    "claims": (ClaimTarget, 20, 6, ("none", "iptc: not checked", "generator text: not checked")),
    "dataset": (DatasetTarget, 15, 6, ("dataset.json: refused", "samples.arrow: refused", "samples")),
    "reports": (
        ReportTarget,
        30,
        8,
        (
            "calibration.json: taken",
            "calibration.json: refused",
            "evaluation-test.json: refused",
            "predictions-test.parquet: refused",
            "metrics.jsonl: taken",
            "run.json: refused",
        ),
    ),
    "plans": (PlanTarget, 8, 5, ("build: refused", "index: refused")),
    "detail": (DetailTarget, 20, 5, ("taken", "refused")),
    "runs": (RunTarget, 25, 5, ("run.json: refused", "config.json: refused", "training.pt: refused")),
    "ranges": (RangeTarget, 25, 5, ("read in parts", "read whole", "outside, or too long", "refused")),
    "views": (ViewTarget, 20, 5, ("taken", "refused")),
    "listings": (ListingTarget, 15, 5, ("names", "files", "lengths", "no lengths")),
    "remote": (RemoteTarget, 15, 5, ("samples", "refused")),
}


@pytest.mark.parametrize("times", [1, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", RUNS)
def test_mutations_are_taken_or_refused(name: str, times: int) -> None:
    if name in ("ranges", "listings", "remote"):
        pytest.importorskip("aiohttp", reason="the extra [remote] is not installed")
    make, count, seed, reached = RUNS[name]
    counts = run_fuzz(make, range(times * count), seed)
    assert all(counts[what] > 0 for what in reached), counts
