"""Runs a training: sets up processes, data, model and folder, then trains all epochs.

Accelerate prepares the model, the optimiser and the schedule, but not the loaders: they divide the data among the
processes themselves.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from accelerate.utils import broadcast_object_list

from glass.config.dataset_digest import dataset_digest
from glass.config.learnt_ids import LearntIds
from glass.config.run_config import RunConfig
from glass.config.run_folder import RunFolder, TrainedOn
from glass.model.backbones import Backbone
from glass.model.model import build_model, check_backbones, compile_backbones, require_weights
from glass.model.timm_library import timm
from glass.train.class_weights import class_weights
from glass.train.epochs import Trainer
from glass.train.optim import build_optimizer, build_schedule, parameter_groups
from glass.train.processes import environment, make_accelerator
from glass.train.progress import report_if_slow
from glass.train.random_state import seed_all
from glass.train.state import RunState
from glass.train.trackers import check_trackers, start_trackers
from loaders import build_loader
from loaders.reading.open_shards import OpenShards
from shards.files.outputs import report_full_disk
from shards.manifest.dataset import ShardDataset

__all__ = ["TrainingStopped", "prepared_model", "train"]


logger = logging.getLogger(__name__)


class TrainingStopped(Exception):
    """Raised if a signal stops a study with several runs. The current run has saved a checkpoint."""


def train(
    data: str | Path | ShardDataset | OpenShards,
    config: RunConfig,
    output: str | Path,
    *,
    checkpoint_every: int | None = None,
    on_epoch: Callable[[dict[str, Any]], bool] | None = None,
    trackers: Sequence[GeneralTracker] = (),
) -> bool:
    """Trains on the shards in ``data`` and writes the run into the folder ``output``, or resumes the run found there.

    ``OpenShards`` stay open, so many runs on the same data can share them. A checkpoint is saved at the end of each
    epoch and, if ``checkpoint_every`` is given, every ``checkpoint_every`` steps. ``on_epoch`` is called with each
    epoch's metrics and stops the run by returning False. ``trackers`` receive the metrics, as do the trackers named in
    the settings. Returns whether the run is finished. Raises ``InputError`` for unsuitable data, settings or folders,
    and for a full disk.
    """
    if not isinstance(data, OpenShards):
        dataset = data if isinstance(data, ShardDataset) else ShardDataset.open(data)
        with OpenShards(dataset) as shards:
            return train(
                shards, config, output, checkpoint_every=checkpoint_every, on_epoch=on_epoch, trackers=trackers
            )
    check_trackers(config)
    weights = class_weights(config, data.dataset)
    accept = "both backbones accept" if config.model.kind == "glass" else "the backbone accepts"
    with report_if_slow(f"checking whether {accept} the views"):
        check_backbones(config)
    if not RunFolder(output).has_checkpoints():
        require_weights(config)
    accelerator, precision = make_accelerator(config, Path(output))
    config = replace(config, loader=replace(config.loader, device=accelerator.device.type))
    folder = RunFolder(output)
    main = accelerator.is_main_process
    with report_full_disk(folder.path), folder.locked() if main else nullcontext():
        if main:
            _begin(folder, config, data.dataset, environment(accelerator, precision))
        accelerator.wait_for_everyone()
        with (
            closing(_loader(data, config, accelerator, training=True)) as train_loader,
            closing(_loader(data, config, accelerator, training=False)) as valid_loader,
        ):
            fresh = not _has_checkpoints(folder)
            parts = prepared_model(config, accelerator, with_weights=fresh)
            state = RunState(accelerator, *parts, train_loader, config.seed)
            state.average = _average(state.plain_model, config.train.ema)
            if main and fresh:
                folder.note_backbones(_backbones(state.plain_model))
            trainer = Trainer(
                config,
                state,
                valid_loader,
                folder,
                precision=precision,
                class_weights=weights,
                checkpoint_every=checkpoint_every,
                on_epoch=on_epoch,
            )
            trainer.resume()
            trainer.refuse_if_still_bad(data.dataset)
            start_trackers(accelerator, config, folder.path, state.progress.step, trackers)
            finished = trainer.fit()
        if main and finished:
            folder.finish({"best": state.progress.best, "steps": state.progress.step})
    accelerator.end_training()
    return finished


def _begin(folder: RunFolder, config: RunConfig, dataset: ShardDataset, surroundings: dict[str, Any]) -> None:
    """Records the run's settings and data. Raises ``InputError`` if the folder contains a run with different ones."""
    where: TrainedOn = {**dataset_digest(dataset.root), "path": str(dataset.root.resolve())}
    folder.begin(config, where, surroundings)
    # ``begin`` has refused other data or splits, so if the run is resumed, this rewrites the same ids.
    LearntIds.of_splits(dataset, config.train_split, config.valid_split).write(folder.path)
    _warn_of_shared_splits(config)


def prepared_model(config: RunConfig, accelerator: Accelerator, *, with_weights: bool) -> tuple[Any, Any, Any]:
    """Returns a new run's (model, optimiser, schedule), prepared by ``accelerator`` and identical on every process.

    If the model has BatchNorm, its running statistics reflect only the main process's part of each batch, because
    DistributedDataParallel copies them to the other processes before each step.
    """
    seed_all(config.seed)
    fetched = with_weights and config.model.pretrained
    what = "creating the model" + (" and fetching its pretrained weights" if fetched else "")
    # One download per machine, not one per process.
    with report_if_slow(what), accelerator.local_main_process_first():
        model = build_model(config, with_weights=with_weights)
    model.to(accelerator.device)
    if config.compile:
        compile_backbones(model)
    optimizer = build_optimizer(parameter_groups(model, config.optim))
    schedule = build_schedule(optimizer, config.epochs, config.optim.lr_min)
    # From here on, each process has its own dropout masks.
    seed_all(config.seed, stream=accelerator.process_index + 1)
    return accelerator.prepare(model, optimizer, schedule)


def _loader(shards: OpenShards, config: RunConfig, accelerator: Accelerator, *, training: bool) -> Any:
    """Returns the loader for this process's share of a split: the training split if ``training`` is true, else the
    validation split.

    Validation reads images in manifest order, with epoch 0's windows, so its scores can be compared between epochs.
    """
    settings, split = config.loader, config.train_split
    if not training:
        settings = settings.for_evaluation(decode=settings.decode, verify=settings.verify)
        split = config.valid_split
    return build_loader(shards, split, settings, accelerator.process_index, accelerator.num_processes)


def _warn_of_shared_splits(config: RunConfig) -> None:
    shared = set(config.train_split.split("+")) & set(config.valid_split.split("+"))
    if shared:
        logger.warning(
            "train_split=%s and valid_split=%s share %s: the best epoch is chosen on images it was trained on, so "
            "validation metrics are too good",
            config.train_split,
            config.valid_split,
            ", ".join(sorted(shared)),
        )


def _backbones(model: Any) -> dict[str, Any]:
    """Returns, for each backbone of ``model``, the entry that :meth:`RunFolder.note_backbones` records."""
    return {
        name: {"name": part.architecture, "weights_sha256": part.weights_sha256}
        for name, part in model.named_children()
        if isinstance(part, Backbone)
    }


def _has_checkpoints(folder: RunFolder) -> bool:
    """Whether there is a checkpoint to load the weights from. Only the main process looks for one; all processes get
    the same result.
    """
    return broadcast_object_list([folder.has_checkpoints()])[0]


def _average(model: Any, decay: float | None) -> Any:
    """Returns a moving average of all weights and statistics, or None if ``decay`` is None.

    The decay rises from a low initial value, so the weights from the first steps, which are far from the final ones,
    quickly lose their influence.
    """
    return None if decay is None else timm.utils.ModelEmaV3(model, decay, use_warmup=True)
