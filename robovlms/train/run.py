"""One training run, from a configuration to checkpoints."""

from robovlms.config import RunConfig
from robovlms.model.base import BaseRoboVLM
from robovlms.model.vlm import build_vlm
from robovlms.train.datasets import build_data_module, open_datasets
from robovlms.train.trainer import BaseTrainer, refuse_taken


def train_from_config(config: RunConfig, *, resume: bool = False, show_progress: bool = True) -> BaseRoboVLM:
    """Train the configured policy on the configured data; the same seed gives the same weights on the same CPU.

    Raises:
        RoboVLMsError: whatever is wrong with configuration, data or checkpoint, in one line.
    """
    refuse_taken(config, resume)  # these two first: loading a large VLM takes minutes
    open_datasets(config.data)
    backbone = build_vlm(config.model.vlm, config.model.tokenizer, seed=config.train.seed)
    data_module = build_data_module(config, backbone)
    return BaseTrainer(config, show_progress=show_progress).fit(backbone, data_module, resume=resume)
