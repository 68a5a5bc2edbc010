"""One training run, from a configuration to checkpoints."""

import torch

from robovlms.config import RunConfig
from robovlms.data.datamodule import GRDataModule
from robovlms.data.dataset import BaseTaskDataset, split_episodes
from robovlms.data.sources.base import EpisodeSource
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.text import PromptEncoder
from robovlms.errors import ConfigError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.vlm import build_vlm
from robovlms.train.contract import build_contract
from robovlms.train.trainer import BaseTrainer


def build_data_module(config: RunConfig, source: EpisodeSource, prompts: PromptEncoder) -> GRDataModule:
    """Windows of `source` as the configuration asks for them: shuffled and augmented to train, plain to validate."""
    contract = build_contract(config, source, prompts)
    train, val = split_episodes(source, config.data.val_episodes)

    def windows(episodes: list[int], random_shift_px: int) -> BaseTaskDataset:
        return BaseTaskDataset(
            source,
            window_size=contract.window_size,
            fwd_pred_next_n=contract.fwd_pred_next_n,
            cameras=tuple(camera.name for camera in contract.cameras),
            action_codec=contract.action_codec,
            proprio_normalizer=contract.proprio_normalizer,
            prompt_encoder=prompts,
            episodes=episodes,
            random_shift_px=random_shift_px,
            seed=config.train.seed,
        )

    return GRDataModule(
        train_dataset=windows(train, config.data.random_shift_px),
        val_dataset=windows(val, 0) if val else None,
        batch_size=config.data.batch_size,
        num_workers=config.data.num_workers,
        seed=config.train.seed,
    )


def train_from_config(config: RunConfig, *, resume: bool = False, show_progress: bool = True) -> BaseRoboVLM:
    """Train the configured policy on the configured data; the same seed gives the same weights on the same CPU.

    Raises:
        RoboVLMsError: whatever is wrong with configuration, data or checkpoint, in one line.
    """
    if config.data.path is None:
        raise ConfigError("data.path is not set; give the dataset's folder with --set data.path=DIR")
    source = LeRobotSource(config.data.path)
    torch.manual_seed(config.train.seed)
    backbone = build_vlm(config.model.vlm, config.model.tokenizer)
    trainer = BaseTrainer(config, show_progress=show_progress)
    prompts = PromptEncoder(backbone.tokenizer, backbone.prompt_template, config.model.tokenizer.max_text_len)
    return trainer.fit(backbone, build_data_module(config, source, prompts), resume=resume)
