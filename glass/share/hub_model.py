"""The exported model under the hub's own interface: ``from_pretrained``, ``save_pretrained``,
``push_to_hub``.

The mixin of ``huggingface_hub`` reads a repository's ``config.json`` unchecked, hands what is in it
to the constructor, and falls back to a pickle where there are no safetensors. So only its shape is
kept: what is loaded goes through ``glass.model.hub`` and ``glass.export.model_folder``, which check and unpickle
nothing.
"""

import tempfile
from pathlib import Path
from typing import Any, NoReturn

import safetensors.torch
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from glass.export.model_folder import WEIGHTS_FILE, load_model
from glass.model.finetune import exported_state
from glass.model.hub import model_folder, publish
from glass.share.bundle import hand_over
from shards.errors import InputError
from shards.files.outputs import check_new_folder

__all__ = ["HubModel"]


class HubModel(nn.Module, PyTorchModelHubMixin):
    """A trained model as it was exported. ``glass.predict.detector.Detector`` gives verdicts
    with it; this class is for those who want the network itself, or know the hub's interface."""

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        """The exported model in ``folder``; ``InputError`` where it is not whole."""
        super().__init__()
        self.folder = Path(folder)
        self.model, self.run_config = load_model(self.folder, device)
        self.eval()

    def forward(
        self, global_view: torch.Tensor, local_crops: torch.Tensor, crop_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits (B, 2) and attention weights, as ``glass.model.model`` defines them."""
        return self.model(global_view, local_crops, crop_mask)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | Path, *, revision: str | None = None, device: str = "cpu"
    ) -> "HubModel":
        """The model in a folder (a run's, or an exported one) or ``user/name`` on the hub."""
        name = str(pretrained_model_name_or_path)
        return cls._from_pretrained(model_id=name, revision=revision, device=device)

    @classmethod
    def _from_pretrained(  # type: ignore[override]
        cls, *, model_id: str, revision: str | None, device: str
    ) -> "HubModel":
        return cls(model_folder(model_id, revision), device)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Writes the model, its calibration and its card into a new folder.

        Raises ``InputError`` where the folder holds files (the mixin would delete a config there),
        or where weights differ from those that were exported, which the card speaks of.
        """
        target = Path(save_directory)
        check_new_folder(target)
        before = safetensors.torch.load_file(self.folder / WEIGHTS_FILE)
        now = exported_state(self.model)
        if any(not torch.equal(before[name], tensor.cpu()) for name, tensor in now.items()):
            raise InputError(
                "the weights were changed since the model was loaded: glass.export.model_folder.save_model"
                " writes one that was trained on"
            )
        return super().save_pretrained(target, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        hand_over(self.folder, save_directory)

    def push_to_hub(self, repo_id: str, *, private: bool | None = True, **options: Any) -> str:
        """Publishes it as ``scripts.export --push`` does, and returns its address."""
        if set(options) - {"config", "model_card_kwargs"}:  # what the mixin adds by itself
            raise InputError(f"push_to_hub takes no {', '.join(sorted(options))}")
        with tempfile.TemporaryDirectory() as temporary:
            self.save_pretrained(Path(temporary) / "model")
            return publish(Path(temporary) / "model", repo_id, private=private is not False)

    @classmethod
    def _load_as_pickle(cls, *_: Any, **__: Any) -> NoReturn:
        raise InputError("models are loaded from safetensors alone")
