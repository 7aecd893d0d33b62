"""The order of work on a GPU, checked on a simulated GPU that raises an error where a real one would not have waited.

It covers streams, pinned buffers, and which stream owns memory.
"""

import gc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch

from loaders import LoaderConfig, build_loader
from loaders import pipeline as loader_pipeline
from loaders.batch import BufferPool
from loaders.decode import choose, dali, torchvision_jpeg
from loaders.decode.jobs import WholeJob
from loaders.decode.torchvision_jpeg import TorchvisionDecoder
from loaders.pipeline import BatchPipeline
from tests.machine.fake_gpu import FakeCuda, FakeGpu, FakeStream, Misuse
from tests.machine.fake_gpu_decoders import FakeNvjpeg, FakePipelines, jpeg

CONFIG = LoaderConfig(global_batch_size=4, num_crops=3, crop_size=48, global_size=64, seed=606, prefetch_batches=1)


@pytest.fixture
def gpu(monkeypatch):
    """Replaces ``torch.cuda`` by a :class:`FakeGpu`, in this thread and in those of a loader, and returns it."""
    gpu = FakeGpu()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: FakeStream(gpu, "the loader's stream"))
    monkeypatch.setattr(torch.cuda, "stream", gpu.stream)
    monkeypatch.setattr(torch.cuda, "current_stream", gpu.current)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: gpu.record_stream(tensor, stream))
    monkeypatch.setattr(torch, "from_dlpack", lambda listed: from_dlpack(listed))

    def pool(workers, **names):
        return ThreadPoolExecutor(workers, initializer=lambda: FakeCuda(gpu).__enter__(), **names)

    monkeypatch.setattr(loader_pipeline, "ThreadPoolExecutor", pool)
    borrow = BufferPool.borrow

    def checked(self, shape):
        buffer = borrow(self, shape)
        gpu.check_lent_buffer(buffer)
        return buffer

    monkeypatch.setattr(BufferPool, "borrow", checked)
    gpu.nvjpeg, gpu.pipelines = FakeNvjpeg(gpu), FakePipelines(gpu)
    monkeypatch.setattr(torchvision_jpeg, "decode_jpeg", gpu.nvjpeg)
    monkeypatch.setattr(dali, "define_whole_pipeline", gpu.pipelines.whole)
    monkeypatch.setattr(dali, "define_spliced_pipeline", gpu.pipelines.spliced)
    with FakeCuda(gpu):
        yield gpu


def from_dlpack(listed):
    """Returns a tensor on the same buffer as ``listed``, which does not keep the buffer alive."""
    with torch._C.DisableTorchFunction():
        return torch.from_numpy(listed.values)


def train(gpu, data, config):
    """Runs an epoch as training does: queues work on the consumer's stream without waiting for it, then drops the
    batch. Returns the sum of each image's pixels and the loader's statistics."""
    sums = []
    with build_loader(data, "train+valid", replace(config, device="cuda")) as loader:
        for batch in loader:
            assert batch["local_crops"].device.type == "cuda"
            sums.append(batch["local_crops"].long().sum((1, 2, 3, 4)) + batch["global_view"].long().sum((1, 2, 3)))
            del batch
        stats = loader.stats()
    gc.collect()
    return torch.cat([one.cpu() for one in sums]), stats


def on_the_cpu(data, config):
    sums = []
    with torch._C.DisableTorchFunction(), build_loader(data, "train+valid", replace(config, backend="turbo")) as loader:
        for batch in loader:
            sums.append(batch["local_crops"].long().sum((1, 2, 3, 4)) + batch["global_view"].long().sum((1, 2, 3)))
    return torch.cat(sums)


@pytest.mark.parametrize("decode", ["window", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("backend", ["nvjpeg", "dali", pytest.param("turbo", marks=pytest.mark.slow)])  # decodes here
def test_an_epoch_on_the_gpu_is_in_order(gpu, synthetic_shards, backend, decode):
    """An epoch never misuses memory, has the same pixels as on the CPU, and reuses memory that was freed."""
    config = replace(CONFIG, backend=backend, decode=decode, augment=0.3)
    sums, stats = train(gpu, synthetic_shards, config)
    assert gpu.misuses == []
    assert torch.equal(sums, on_the_cpu(synthetic_shards, config))
    assert gpu.reused > 10
    kind = "whole" if decode == "full" else "spliced"
    assert (kind in {name for name, _ in gpu.pipelines.runs}) == (backend == "dali")
    assert bool(gpu.nvjpeg.calls) == (backend == "nvjpeg")
    assert stats["failed"] == {}


def test_auto_without_dali_is_nvjpeg(gpu, synthetic_shards, monkeypatch):
    choose._gpu_backend.cache_clear()
    monkeypatch.setattr(choose, "optional", lambda name: None)
    train(gpu, synthetic_shards, CONFIG)
    choose._gpu_backend.cache_clear()
    assert max(gpu.nvjpeg.calls) > 4  # many crops in one call
    assert gpu.misuses == []


UNFINISHED = {
    "the consumer's stream reads what the loader's stream may not have written yet",
    "a pinned buffer is lent again while a copy out of it may be under way",
}
"""Errors that occur if a batch is handed out before its copies are complete. Which of the two occurs depends on the
timing of the threads."""


@pytest.mark.parametrize(
    ("backend", "left_out", "words"),
    [
        ("nvjpeg", "_finish", UNFINISHED),
        ("turbo", "_finish", UNFINISHED),
        ("dali", "_run_at_once", {"DALI took back while the loader's stream may use it"}),
    ],
)
def test_a_wait_that_is_left_out_is_seen(gpu, synthetic_shards, backend, left_out, words):
    gpu.left_out = {left_out}
    with suppress(Misuse):
        train(gpu, synthetic_shards, replace(CONFIG, backend=backend))
    assert any(one_of in one for one in gpu.misuses for one_of in words), gpu.misuses


def test_a_batch_that_is_not_handed_over_is_seen(gpu, synthetic_shards, monkeypatch):
    """The simulated GPU notices if ``hand_over`` is skipped, because the batch's memory is then reused while the
    consumer's kernels may still read it."""
    monkeypatch.setattr(BatchPipeline, "hand_over", lambda self, batch: batch)
    train(gpu, synthetic_shards, replace(CONFIG, backend="nvjpeg"))
    assert "memory of the loader's stream was freed while the consumer's stream may use it" in gpu.misuses


def whole_job(pixels):
    window = np.array([[0, 0, 48, 48]], np.int32)
    return WholeJob(jpeg(pixels), *pixels.shape[:2], window, np.arange(1), 0, "JPEG", "RGB")


@pytest.mark.parametrize("waits", [True, False])
def test_nvjpeg_gets_memory_that_nobody_reads_any_more(gpu, waits):
    """torchvision allocates memory on the caller's stream, but writes it on its own stream without waiting for the
    caller's. So the decoder must synchronise first."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    crops = torch.empty((1, 48, 48, 3), dtype=torch.uint8, device="cuda")
    before = torch.zeros((3, 64, 64), dtype=torch.uint8).to("cuda", non_blocking=True)
    total = before.long().sum()
    del before
    gpu.left_out = set() if waits else {"_decode_at_once"}
    decoder = TorchvisionDecoder("cuda")
    if waits:
        assert decoder.decode([whole_job(pixels)], crops) == []
        assert gpu.misuses == []
    else:
        with pytest.raises(Misuse, match="nvJPEG's stream writes what the consumer's stream may still use"):
            decoder.decode([whole_job(pixels)], crops)
    assert total.item() == 0


def test_one_bad_file_costs_no_other(gpu):
    """A damaged file does not affect the others in a call. torchvision returns no partial results, so after an error
    the files are decoded one by one, and Pillow decides whether a file is damaged."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    jobs = [replace(whole_job(pixels), slots=np.array([k]), sample=k) for k in range(3)]
    jobs[1] = replace(jobs[1], data=jobs[1].data[: jobs[1].data.size // 2])
    crops = torch.empty((3, 48, 48, 3), dtype=torch.uint8, device="cuda")
    failures = TorchvisionDecoder("cuda").decode(jobs, crops)
    assert [failure.sample for failure in failures] == [1]
    assert gpu.nvjpeg.calls == [3, 1, 1, 1]
    found = crops.cpu().numpy()
    assert (found[1] == 0).all()
    assert np.array_equal(found[0], found[2])
    assert found[0].any()
    assert gpu.misuses == []
