#!/usr/bin/env bash
# grain 0.2.18, Python 3.11; seen on 2026-11-30.
# One expects: processes that each read their own ShardOptions, with drop_remainder=False (the default), have together
#   read every image once after an epoch; the number of workers changes nothing but speed; equal weights in mix() give
#   as many images of one class as of the other.
# What happens: (1) eight processes read 96 of 100 images: each larger shard leaves out one, in every evaluation the
#   same one. In three epochs some images come twice, others four times. (2) Each worker batches only what it reads
#   itself (issues 953 and 1129): with drop_remainder=True, 96 of 100 images come without workers, 64 with four and
#   none with eight; with drop_remainder=False, eight workers turn batches of 16 into batches of 13 and 12. (3)
#   MapDataset.mix() also counts the images that filter() removed: if one real image in five is large enough, one image
#   in six is real. repeat() does not help, and the only warning is for filters that remove more than 90 %.
# What to do: evaluate a number of images that the number of processes divides; use mp_prefetch() first and batch()
#   after it; mix iterators, IterDataset.mix of to_iter_dataset(). Count the images.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile grain==0.2.18
cat >"$folder/measure.py" <<'PYTHON'
import itertools

import grain
from absl import app

NUM_IMAGES, NUM_SHARDS, BATCH_SIZE, NUM_READ = 100, 8, 16, 2000


class Images:
    def __len__(self):
        return NUM_IMAGES

    def __getitem__(self, number):
        return number


def load(num_epochs=1, shuffle=False, shard=None, **options):
    sampler = grain.samplers.IndexSampler(
        num_records=NUM_IMAGES,
        num_epochs=num_epochs,
        shuffle=shuffle,
        seed=0,
        shard_options=shard or grain.sharding.NoSharding(),
    )
    return list(grain.DataLoader(data_source=Images(), sampler=sampler, **options))


def shards():
    for num_epochs, shuffle in ((1, False), (1, True), (3, True)):
        read = [
            int(number)
            for shard in range(NUM_SHARDS)
            for number in load(num_epochs, shuffle, grain.sharding.ShardOptions(shard, NUM_SHARDS))
        ]
        missing = sorted(set(range(NUM_IMAGES)) - set(read))
        times = sorted({read.count(number) for number in set(read)})
        print(f"{num_epochs} epochs, shuffled: {shuffle}: {len(read)} images, each {times} times, missing: {missing}")
        if num_epochs == 1:
            assert len(missing) == NUM_IMAGES % NUM_SHARDS and times == [1], "changed: shards"
        else:
            assert times == [2, 3, 4], "changed: epochs"


def workers():
    for drop_remainder, num_workers, expected in (
        (True, 0, [16] * 6),
        (True, 4, [16] * 4),
        (True, 8, []),
        (False, 8, [13] * 4 + [12] * 4),
    ):
        batch = grain.transforms.Batch(BATCH_SIZE, drop_remainder=drop_remainder)
        sizes = [len(numbers) for numbers in load(operations=[batch], worker_count=num_workers)]
        print(f"{num_workers} workers, drop_remainder={drop_remainder}: batches of {sizes}")
        assert sizes == expected, "changed: batches"
    numbers = grain.MapDataset.source(range(NUM_IMAGES)).to_iter_dataset()
    options = grain.multiprocessing.MultiprocessingOptions(num_workers=4)
    batches = numbers.mp_prefetch(options).batch(BATCH_SIZE, drop_remainder=True)
    assert [len(numbers) for numbers in batches] == [16] * 6, "batched afterwards"


def mixture():
    real = grain.MapDataset.source(range(1, 1001)).seed(0).shuffle().filter(lambda number: number % 5 == 0)
    fake = grain.MapDataset.source(range(-1000, 0)).seed(0).shuffle()
    weights = [0.5, 0.5]
    ways = {
        "MapDataset.mix": grain.MapDataset.mix([real, fake], weights),
        "MapDataset.mix, repeated": grain.MapDataset.mix([real.repeat(), fake.repeat()], weights),
        "IterDataset.mix": grain.IterDataset.mix([real.to_iter_dataset(), fake.to_iter_dataset()], weights),
    }
    for way, mixed in ways.items():
        numbers = itertools.islice(mixed if "Iter" in way else mixed.to_iter_dataset(), NUM_READ)
        is_real = [number > 0 for number in numbers]
        share = sum(is_real) / len(is_real)
        print(f"{way}: {share:.0%} of {len(is_real)} images are real")
        assert (0.48 < share < 0.52) if "Iter" in way else (0.14 < share < 0.2), f"changed: {way}"


def main(_):
    mixture()
    shards()
    workers()


if __name__ == "__main__":
    app.run(main)
PYTHON
"$folder/venv/bin/python" "$folder/measure.py" 2>"$folder/log" || { tail -20 "$folder/log"; exit 1; }
echo "as found: images are missing, and classes are not as weighted"
