"""Demo images re-rendered by networks: which images are made, how they are listed, and that an interrupted run
continues."""

import csv
import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scripts import make_demo
from scripts.build_shards import main as build_shards
from scripts.demo_images import enlarging, networks, rerendering
from scripts.demo_images import photos as photographs
from scripts.demo_images.readmes import NETWORKS_NOTE
from shards.errors import InputError
from shards.sources.read import read_sources


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photographs with about a hundredth of the minimum number of pixels. Full-size ones would take a minute to cut and
    enlarge."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(4):
        coarse = np.random.default_rng(seed).integers(0, 256, (13, 19, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((190, 130), Image.Resampling.NEAREST).save(folder / f"{seed}.jpg", quality=90)
    return folder


@pytest.fixture
def without_ncnn(monkeypatch):
    """Replaces each network by a plain filter and counts its calls. Lowers the minimum size to that of ``photos``."""
    asked = Counter()
    monkeypatch.setattr(photographs, "MIN_PIXELS", 24_000)
    monkeypatch.setattr(rerendering, "SIDES", (52, 76))

    def enlarge(name, image):
        asked[name] += 1
        scale = networks.NETWORKS[name].scale
        return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)

    monkeypatch.setattr(rerendering, "enlarge", enlarge)
    monkeypatch.setattr(make_demo, "require_networks", lambda names: None)
    return asked


def run(out, photos, *more, images="12"):
    return make_demo.main([str(out), "--photos", str(photos), "--images", images, "--workers", "1", *more])


def rows_of(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def is_added(row):
    return int(row["path"].rpartition("/")[2].partition(".")[0]) >= 1_000_000


@pytest.fixture(autouse=True)
def fewer_added(monkeypatch):
    less = {rerendering.SHARPLY: (2, 1_000_000), rerendering.AS_CUT: (1, 2_000_000)}
    assert less.keys() == rerendering.ADDED.keys()
    monkeypatch.setattr(rerendering, "ADDED", less)


def test_classes_splits_and_control(photos, tmp_path, without_ncnn):
    out = tmp_path / "demo"
    assert run(out, photos, "--networks", images="24") == 0
    listed, control = rows_of(out / "images.csv"), rows_of(out / "control.csv")
    rows = [row for row in listed if not is_added(row)]
    assert Counter(row["label"] for row in rows) == {"real": 12, "generated": 12}
    assert Counter(row["generator"] for row in rows if row["generator"]) == {"upconv7": 6, "animevideo": 6}
    assert without_ncnn == {"upconv7": 6, "animevideo": 6}
    assert sum(row["path"].startswith("real/enlarged/") for row in rows) == 6
    splits = {}
    for row in listed + control:
        splits.setdefault(row["group"], set()).add(row["split"])
        with Image.open(out / row["path"]) as image:
            assert 52 <= image.width <= 76
            assert 52 <= image.height <= 76
    assert sorted(map(sorted, splits.values())) == [["test"], ["train"], ["train"], ["train"]]
    per_picture = Counter((row["group"], row["label"]) for row in rows)
    assert set(per_picture.values()) == {3}, "a picture must not tell the class"
    added = Counter((row["group"], row["split"], row["path"].rpartition("/")[0]) for row in listed if is_added(row))
    assert {row["label"] for row in listed if is_added(row)} == {"real"}
    assert Counter((split, folder, count) for (_, split, folder), count in added.items()) == {
        ("train", "real/enlarged", 2 * 3): 3,
        ("train", "real", 1 * 3): 3,
    }, "to the three generated ones of each picture of the training"
    assert {(row["label"], row["generator"], row["split"]) for row in control} == {("real", "", "test")}
    assert not {row["path"] for row in control} & {row["path"] for row in rows}
    assert Counter(row["path"].split("/")[1] for row in control) == {"lanczos-2": 2, "lanczos-1.7": 2}
    parts = {row["path"].replace("-1.7/", "-2/"): row["group"] for row in control}
    assert parts == {row["path"]: row["group"] for row in control if "-2/" in row["path"]}, "the same cuttings"
    readme = (out / "README.txt").read_text(encoding="utf-8")
    assert read_sources(out / "images.csv").dataset_note() == NETWORKS_NOTE
    assert "waifu2x" in readme
    assert "MIT" in readme


def test_images_are_of_usual_sizes_and_at_most_half_as_wide_as_their_photograph():
    edges = np.zeros((32, 32), np.float32)
    large = [photographs.Photo(Path(f"{index}.jpg"), 1900, 1600, edges, edges) for index in range(3)]
    narrow = photographs.Photo(Path("3.jpg"), 1000, 2400, edges, edges)
    jobs = rerendering.plan_rerendered(40, 0, [*large, narrow], [0, 1, 2, 3], ["upconv7"])
    parts = [part for job in jobs if job.photo != narrow.path for part in job.renditions]
    for sides in ({part.width for part in parts}, {part.height for part in parts}):
        assert 512 <= min(sides) < 560
        assert 720 < max(sides) <= 768
    assert {part.width for job in jobs if job.photo == narrow.path for part in job.renditions} == {500}


def test_unseen_networks_are_of_the_test_alone(photos, tmp_path, without_ncnn):
    run(tmp_path / "plain", photos, "--networks", "upconv7")
    asked = Counter(without_ncnn)
    run(tmp_path / "more", photos, "--networks", "upconv7", "--unseen", "cunet,x4plus")
    assert without_ncnn - asked - asked == {"cunet": 1, "x4plus": 1}
    before, after = rows_of(tmp_path / "plain/images.csv"), rows_of(tmp_path / "more/images.csv")
    of_unseen = [row for row in after if row["generator"] in ("cunet", "x4plus")]
    assert [row for row in after if row not in of_unseen] == before, "what a network is trained on must not change"
    added = [(row["label"], row["generator"], row["split"]) for row in of_unseen]
    assert added == [("generated", "cunet", "test"), ("generated", "x4plus", "test")]
    assert {row["group"] for row in of_unseen} <= {row["group"] for row in before if row["split"] == "test"}
    for row in before + rows_of(tmp_path / "plain/control.csv"):
        assert (tmp_path / "plain" / row["path"]).read_bytes() == (tmp_path / "more" / row["path"]).read_bytes()
    assert "cunet: waifu2x (github.com/nagadomi/waifu2x, MIT), test only" in (tmp_path / "more/README.txt").read_text()


@pytest.mark.slow  # a whole build; lists with splits are tested beside the builds
def test_the_list_builds_with_its_splits(photos, tmp_path, without_ncnn):
    run(tmp_path / "demo", photos, "--networks", "cunet")
    assert build_shards([str(tmp_path / "demo/images.csv"), str(tmp_path / "shards"), "--workers", "1"]) == 0
    assert {path.name.split("-")[0] for path in (tmp_path / "shards").glob("*.tar")} >= {"train", "test"}


def test_an_interrupted_run_goes_on(photos, tmp_path, without_ncnn, monkeypatch):
    run(tmp_path / "whole", photos, "--networks", "cunet")
    render = rerendering.render
    made = []

    def interrupted(cutting, photo, seed):
        if len(made) == 7:
            raise KeyboardInterrupt
        made.append(cutting.path)
        return render(cutting, photo, seed)

    monkeypatch.setattr(rerendering, "render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "demo", photos, "--networks", "cunet")
    assert not (tmp_path / "demo/images.csv").exists()
    with pytest.raises(InputError, match="unfinished images of another command"):
        run(tmp_path / "demo", photos, "--networks", "cunet", "--seed", "1")

    def rest(cutting, photo, seed):
        assert cutting.path not in made
        return render(cutting, photo, seed)

    monkeypatch.setattr(rerendering, "render", rest)
    assert run(tmp_path / "demo", photos, "--networks", "cunet") == 0
    files = {path.relative_to(tmp_path / "demo") for path in (tmp_path / "demo").rglob("*")}
    assert files == {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*")}
    for name in files:
        if (tmp_path / "demo" / name).is_file():
            assert (tmp_path / "demo" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert run(tmp_path / "demo", photos, "--networks", "cunet") == 0  # there is nothing to do
    with pytest.raises(InputError, match="is not empty"):
        run(tmp_path / "demo", photos, "--networks", "cunet", "--seed", "1")


def test_half_of_the_factors_of_real_images_are_whole():
    factors = [enlarging.draw_factor(np.random.default_rng(seed), enlarging.BROAD) for seed in range(2000)]
    whole = Counter(factor for factor in factors if factor == round(factor))
    assert set(whole) == {2, 3, 4}
    assert sum(whole.values()) == pytest.approx(1000, abs=100)
    assert whole[2] == max(whole.values())
    assert 1.2 <= min(factors) < 1.3 < 3.9 < max(factors) <= 4


def test_the_cubic_of_b_0_and_c_three_quarters_is_that_of_torch():
    small = Image.fromarray(np.random.default_rng(0).integers(60, 200, (48, 40, 3), dtype=np.uint8))
    tensor = torch.from_numpy(np.array(small, np.float32)).permute(2, 0, 1)[None]
    for width, height in ((80, 96), (68, 82), (120, 192)):
        theirs = torch.nn.functional.interpolate(tensor, size=(height, width), mode="bicubic")[0].permute(1, 2, 0)
        ours = np.asarray(enlarging._by_cubic(small, (width, height), 0, 0.75), float)
        inside = slice(8, -8)  # torch repeats the edge, ours gives the rest more weight there
        assert np.abs(ours - theirs.numpy().clip(0, 255))[inside, inside].max() < 0.51


def test_a_spline_goes_through_the_pixels():
    small = Image.fromarray(np.random.default_rng(0).integers(60, 200, (32, 24, 3), dtype=np.uint8))
    for order in enlarging.SPLINE_ORDERS:
        large = np.asarray(enlarging._by_spline(small, (72, 96), order))
        assert np.array_equal(large[1::3, 1::3], np.asarray(small))


def test_real_images_are_enlarged_in_place_and_not_all_alike():
    small = Image.effect_mandelbrot((64, 48), (-2, -1.2, 0.8, 1.2), 60).convert("RGB")
    plain = np.asarray(small.resize((128, 96), Image.Resampling.BICUBIC).convert("L"), float)
    seen = set()
    for seed in range(8):
        large, again = (
            enlarging.enlarge_plainly(small, (128, 96), np.random.default_rng(seed), enlarging.SHARP) for _ in range(2)
        )
        assert large.size == (128, 96)
        assert large.tobytes() == again.tobytes()
        seen.add(large.tobytes())
        made = np.asarray(large.convert("L"), float)
        difference = [np.abs(np.roll(plain, shift, (0, 1)) - made)[8:-8, 8:-8].mean() for shift in (0, -1, 1)]
        assert difference[0] == min(difference)
    assert len(seen) > 5


def test_mistakes(photos, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no network 'dalle': choose from upconv7,"):
        run(tmp_path / "a", photos, "--networks", "dalle")
    with pytest.raises(SystemExit):
        make_demo.main([str(tmp_path / "a"), "--networks"])
    for names in (["--unseen", "cunet"], ["--networks", "upconv7,cunet", "--unseen", "cunet"]):
        with pytest.raises(SystemExit):
            run(tmp_path / "a", photos, *names)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    networks._load.cache_clear()
    with pytest.raises(InputError, match=r"pip install -e '\.\[networks\]'"):
        run(tmp_path / "a", photos, "--networks")
    assert not (tmp_path / "a").exists()


@pytest.mark.slow  # seconds of computing for each network
@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_network_enlarges_in_place(name):
    """A network gives the same image twice, of the right size, and not shifted in comparison with a plain filter."""
    for package in ("ncnn", networks.NETWORKS[name].package.replace("-", "_")):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    scale = networks.NETWORKS[name].scale
    small = Image.effect_mandelbrot((64, 48), (-2, -1.2, 0.8, 1.2), 60).convert("RGB")
    first, second = networks.enlarge(name, small), networks.enlarge(name, small)
    assert first.size == (64 * scale, 48 * scale)
    assert first.tobytes() == second.tobytes()
    made = np.asarray(first.convert("L"), float)
    plain = np.asarray(small.resize(first.size, Image.Resampling.BICUBIC).convert("L"), float)
    inside = slice(networks.MARGIN, -networks.MARGIN)
    difference = [np.abs(np.roll(plain, shift, (0, 1)) - made)[inside, inside].mean() for shift in (0, -1, 1)]
    assert difference[0] == min(difference)
