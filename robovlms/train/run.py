"""One training run, from a configuration to checkpoints."""

from robovlms.config import RunConfig
from robovlms.data.datamodule import GRDataModule
from robovlms.data.dataset import BaseTaskDataset, split_episodes
from robovlms.data.sources.base import EpisodeSource
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.errors import ConfigError
from robovlms.model.backbone.base import Backbone
from robovlms.model.base import BaseRoboVLM
from robovlms.model.vlm import build_vlm
from robovlms.train.contract import build_contract
from robovlms.train.trainer import BaseTrainer, refuse_taken


def open_dataset(config: RunConfig) -> EpisodeSource:
    """Open the dataset of a run.

    Raises:
        ConfigError: if none is given.
        DataError: if it is missing or damaged.
    """
    if config.data.path is None:
        raise ConfigError("data.path is not set; give the dataset's folder with --set data.path=DIR")
    return LeRobotSource(config.data.path)


def build_data_module(config: RunConfig, backbone: Backbone) -> GRDataModule:
    """Windows of the dataset as the configuration asks for them: shuffled and shifted to train, plain to validate.

    Args:
        config: of the run; `data.path` is the dataset.
        backbone: brings tokenizer and prompt format.

    Raises:
        ConfigError: if no dataset is given, or it lacks a camera.
        DataError: if the dataset is damaged or too small.
    """
    source, prompts = open_dataset(config), backbone.prompt_encoder(config.model.tokenizer)
    contract = build_contract(config, source, prompts)

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

    train, val = split_episodes(source, config.data.val_episodes)
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
    refuse_taken(config, resume)  # these two first: loading a large VLM takes minutes
    open_dataset(config)
    backbone = build_vlm(config.model.vlm, config.model.tokenizer, seed=config.train.seed)
    data_module = build_data_module(config, backbone)
    return BaseTrainer(config, show_progress=show_progress).fit(backbone, data_module, resume=resume)
