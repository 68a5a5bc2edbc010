"""A tiny checkpoint in the layout of the original RoboVLMs."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from robovlms import BaseRoboVLM
from robovlms.config import VLMConfig
from robovlms.model.convert_original import convert_original
from robovlms.model.head import LSTMDecoder
from robovlms.model.vlm import build_vlm


def write_tokenizer(folder: Path) -> None:
    """Marks, four words, and words that only fill the vocabulary; marks are added around a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "<pad>", "</s>", "<unk>", "push", "the", "block", "open"]
    words = {word: i for i, word in enumerate([*words, *(f"w{i}" for i in range(len(words), 320))])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)


class Made:
    """A tiny checkpoint in the original's layout: Kosmos-2, policy head, LSTM.

    Args:
        folder: to write into.

    Attributes:
        config: the training configuration.
        state: the tensors.
        backbone: the VLM whose tensors they are.
        done: what came of the last conversion.
    """

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.folder = folder
        self.config: dict[str, Any] = {
            "robovlm_name": "RoboKosMos", "window_size": 2, "fwd_pred_next_n": 3, "image_size": 28,
            "norm_action": True, "norm_min": -0.5, "norm_max": 0.5,
            "train_setup": {"predict_action": True},
            "act_head": {"type": "LSTMDecoder", "hidden_size": 8, "action_dim": 7, "down_sample": "none", "latent": 1,
                         "action_space": "continuous", "history_type": "post", "num_layers": 1},
            "tokenizer": {"tokenizer_type": "kosmos"},
        }  # fmt: skip
        self.state: dict[str, Tensor] = {"model.action_token": torch.randn(32)}
        self.add_backbone("kosmos")
        self.add("act_head", LSTMDecoder(32, 8, 7, fwd_pred_next_n=3, window_size=2, num_layers=1))

    def add(self, part: str, module: torch.nn.Module) -> None:
        """Add a module's tensors."""
        self.state |= {f"model.{part}.{key}": value.clone() for key, value in module.state_dict().items()}

    def drop(self, part: str) -> None:
        """Take a part's tensors away."""
        self.state = {key: value for key, value in self.state.items() if not key.startswith(f"model.{part}")}

    def add_backbone(self, name: str) -> None:
        """Add a tiny VLM and write its folder, without weights and image settings."""
        self.backbone = build_vlm(VLMConfig(name=name)).model
        self.backbone.config.save_pretrained(self.folder / "vlm")
        write_tokenizer(self.folder / "vlm")
        self.add("backbone", self.backbone)

    def convert(self, suffix: str = ".safetensors", wrap: str | None = None) -> BaseRoboVLM:
        """Write the checkpoint, convert it and load what came of it.

        Args:
            suffix: of the file; not ".safetensors" is a pickle.
            wrap: key under which the tensors lie in the pickle.
        """
        checkpoint, config = self.folder / f"weights{suffix}", self.folder / "config.json"
        if suffix == ".safetensors":
            save_file({key: value.clone() for key, value in self.state.items()}, checkpoint)
        else:
            torch.save({wrap: self.state, "epoch": 3} if wrap else self.state, checkpoint)
        config.write_text(json.dumps(self.config))
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        self.done = convert_original(checkpoint, config, self.folder / "vlm", out)
        return BaseRoboVLM.from_pretrained(out)


def run(model: BaseRoboVLM, num_cameras: int = 1, t: int = 2) -> Tensor:
    """What a policy predicts for generated pictures of 28 pixels."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, t, num_cameras, 3, 28, 28, generator=generator)
    with torch.inference_mode():
        return model(images, torch.tensor([[0, 4, 5, 6, 2]] * 2), mode="inference").action_predictions
