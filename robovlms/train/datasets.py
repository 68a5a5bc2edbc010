"""The datasets of a run: opened, brought to one sample layout, and put together."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from robovlms.actions.contract import CameraSpec, PolicyContract
from robovlms.actions.normalize import ActionCodec, FeatureStatistics, Normalizer, Scheme
from robovlms.actions.space import ActionSpace
from robovlms.actions.union import renamed, union_space
from robovlms.config import DataConfig, RunConfig, SourceConfig, VisionLanguageConfig
from robovlms.data.conventions import refuse_contradictions
from robovlms.data.datamodule import GRDataModule
from robovlms.data.dataset import BaseTaskDataset, split_episodes
from robovlms.data.mirror import Mirror
from robovlms.data.mixture import Mixture, Part
from robovlms.data.resample import ResampledSource
from robovlms.data.sources.base import EpisodeSource
from robovlms.data.sources.oxe import OXE_MIXES
from robovlms.data.sources.registry import open_source
from robovlms.data.sources.view import SourceView
from robovlms.data.streaming import StreamingDataset
from robovlms.data.text import PromptEncoder
from robovlms.data.vision_language import VisionLanguageDataset
from robovlms.data.vision_language_text import ConversationEncoder
from robovlms.errors import ConfigError, unknown_name
from robovlms.model.backbone.base import Backbone
from robovlms.train.contract import build_contract, training_statistics, within


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """One opened dataset.

    Attributes:
        name: for messages.
        config: how it takes part.
        source: the dataset, under the policy's camera names, at the run's rate.
        space: its actions under the policy's names.
    """

    name: str
    config: SourceConfig
    source: EpisodeSource
    space: ActionSpace


def open_datasets(data: DataConfig) -> list[TrainingSet]:
    """Open every dataset of a run; the one whose robot the policy is for comes first.

    Raises:
        ConfigError: if none is given, or an option is unknown.
        DataError: if one is missing or damaged, or contradicts what it says of its actions.
    """
    sets = [_open(config, data) for config in source_configs(data)]
    names = [one.name for one in sets]
    if data.robot is not None and data.robot not in names:
        raise ConfigError("data.robot: " + unknown_name("dataset", data.robot, names))
    return sorted(sets, key=lambda one: one.name != (data.robot or names[0]))


def source_configs(data: DataConfig) -> tuple[SourceConfig, ...]:
    """What the datasets of a run are: the mixture, the named mix, or the one at `data.path`.

    Raises:
        ConfigError: if none is given, or the mix is unknown.
    """
    if data.mixture:
        return data.mixture
    if data.path is None:
        raise ConfigError("data.path is not set; give the dataset's folder with --set data.path=DIR")
    if data.mix is None:
        return (SourceConfig(path=data.path, format=data.format, options=data.options, stream=data.stream),)
    if data.mix not in OXE_MIXES:
        raise ConfigError("data.mix: " + unknown_name("mix", data.mix, OXE_MIXES))
    weights = OXE_MIXES[data.mix]
    return tuple(
        SourceConfig(path=data.path / name, format="rlds", options=data.options, stream=data.stream, weight=weight)
        for name, weight in weights.items()
    )


def build_data_module(config: RunConfig, backbone: Backbone, *, rank: int = 0, world_size: int = 1) -> GRDataModule:
    """Windows of the datasets as the configuration asks for them: shuffled and changed to train, plain to validate.

    Args:
        config: of the run.
        backbone: brings tokenizer and prompt format.
        rank, world_size: which of how many training processes this is.

    Raises:
        ConfigError: if no dataset is given, it lacks a camera, or datasets do not fit together.
        DataError: if a dataset is damaged or too small.
    """
    sets, prompts = open_datasets(config.data), backbone.prompt_encoder(config.model.tokenizer)
    contract = build_contract(config, sets[0].source, prompts, predicted_space=predicted_space(sets))
    pairs = [_parts(number, one, config, contract, prompts) for number, one in enumerate(sets)]
    train, val = [pair[0] for pair in pairs], [pair[1] for pair in pairs if pair[1] is not None]
    weights, is_alone = [one.config.weight for one in sets], len(sets) == 1
    by = config.data.mixture_by or ("weight" if config.data.mix is None else "frames")
    mixed = Mixture(train, weights, by=by, action_space=contract.head_space)
    return GRDataModule(
        train_dataset=train[0] if is_alone else mixed,
        val_dataset=(val[0] if is_alone else Mixture(val)) if val else None,
        batch_size=config.data.batch_size,
        num_workers=config.data.num_workers,
        seed=config.train.seed,
        rank=rank,
        world_size=world_size,
        balance=config.data.balance,
        augment=config.data.augment,
        bad_budget=config.data.bad_budget,
        stream_lanes=config.data.stream_lanes,
        vision_language=_conversations(config.data.vision_language, backbone),
        vision_language_batch_size=config.data.vision_language.batch_size,
    )


def _conversations(config: VisionLanguageConfig, backbone: Backbone) -> VisionLanguageDataset | None:
    if config.path is None:
        return None
    encoder = ConversationEncoder(
        backbone.tokenizer,
        template=config.template,
        system=config.system,
        max_text_len=config.max_text_len,
        add_special_tokens=backbone.add_special_tokens,
        images_at=backbone.images_at,
        prompt_tail=backbone.prompt_tail,
    )
    images = config.path.parent if config.images is None else config.images
    return VisionLanguageDataset(config.path, images, encoder=encoder, image_size=backbone.image_size)


def predicted_space(sets: list[TrainingSet]) -> ActionSpace | None:
    """What the head predicts for all datasets; None = the actions of the first."""
    union = union_space({one.name: one.space for one in sets}, sets[0].name)
    return None if union.names == sets[0].source.action_space.names else union


def _open(config: SourceConfig, data: DataConfig) -> TrainingSet:
    source = open_source(config.path, config.format, **config.options)
    name = config.name or Path(config.path).name
    if data.check_conventions and not config.stream:
        refuse_contradictions(source)
    if data.target_hz is not None and source.action_space.control_hz != data.target_hz:
        if config.stream:
            raise ConfigError(f"{config.path}: a stream keeps its rate; convert it, or leave data.target_hz out")
        source = ResampledSource(source, data.target_hz)
    space = renamed(source.action_space, config.rename)
    return TrainingSet(name=name, config=config, source=_under_own_names(source, config.cameras), space=space)


def _under_own_names(source: EpisodeSource, cameras: dict[str, str]) -> EpisodeSource:
    """The dataset with the policy's camera names; cameras that are not mentioned keep theirs."""
    if not cameras:
        return source
    known = {camera.name: camera for camera in source.cameras}
    mapped = {ours: known[theirs] for ours, theirs in cameras.items() if theirs in known}
    kept = {name: camera for name, camera in known.items() if name not in cameras.values()}
    specs = {name: dataclasses.replace(camera, name=name) for name, camera in {**kept, **mapped}.items()}
    return SourceView(source, cameras=tuple(specs[name] for name in sorted(specs)), camera_keys=cameras)


def _parts(
    number: int, one: TrainingSet, config: RunConfig, contract: PolicyContract, prompts: PromptEncoder
) -> tuple[Part, BaseTaskDataset | None]:
    """Training and validation windows of one dataset."""
    view = SourceView(one.source, cameras=_frames_of(contract), proprio_names=contract.proprio_names)
    head = contract.head_space.names
    settings = {
        "window_size": contract.window_size,
        "fwd_pred_next_n": contract.fwd_pred_next_n,
        "cameras": tuple(camera.name for camera in contract.cameras),
        "action_codec": _codec(one, config, head[: contract.action_space.size]),
        "proprio_normalizer": _proprio_normalizer(view, one.source, contract, config),
        "prompt_encoder": prompts,
        "action_columns": tuple(head.index(name) for name in one.space.names),
        "action_dim": len(head),
        "proprio_dim": len(contract.proprio_names),
        "dataset": number,
        "mirror": _mirror(view, contract) if config.data.augment.mirror else None,
    }
    if one.config.stream:
        counted = {"pool_episodes": config.data.pool_episodes, "num_frames": one.source.statistics["action"].count}
        return StreamingDataset.of(view, **counted, **settings), None
    train, val = split_episodes(one.source, config.data.val_episodes)
    return (
        BaseTaskDataset(view, episodes=train, **settings),
        BaseTaskDataset(view, episodes=val, **settings) if val else None,
    )


def _frames_of(contract: PolicyContract) -> tuple[CameraSpec, ...]:
    """The cameras with the size that training frames have: the configured one, or the robot's own."""
    if contract.image_size is None:
        sizes = {(camera.height, camera.width) for camera in contract.cameras}
        if len(sizes) > 1:
            named = {camera.name: (camera.height, camera.width) for camera in contract.cameras}
            raise ConfigError(f"cameras have different sizes, {named}; set data.image_size, for example to 224")
        return contract.cameras
    height, width = contract.image_size
    return tuple(dataclasses.replace(camera, height=height, width=width) for camera in contract.cameras)


def _mirror(view: SourceView, contract: PolicyContract) -> Mirror:
    names = [camera.name for camera in contract.cameras]
    return Mirror.of(view.action_space, view.proprio_names, names)


def _codec(one: TrainingSet, config: RunConfig, robot: tuple[str, ...]) -> ActionCodec:
    scheme = config.data.action_scheme if config.data.action_range is None else "min_max"
    if isinstance(scheme, tuple):
        scheme = tuple(_scheme_of(name, one, scheme, robot) for name in one.space.names)
    statistics = within(training_statistics(config, one.source)["action"], config.data.action_range)
    normalizer = Normalizer.from_statistics(scheme, statistics)
    return ActionCodec(space=one.source.action_space, normalizer=normalizer, mu=config.data.action_mu)


def _scheme_of(name: str, one: TrainingSet, schemes: tuple[Scheme, ...], robot: tuple[str, ...]) -> Scheme:
    """The robot's scheme of a dimension, by its name."""
    if name not in robot or len(schemes) != len(robot):
        raise ConfigError(
            f"data.action_scheme gives {len(schemes)} schemes for the robot's {list(robot)}, and {one.name} has the "
            f"dimension {name!r}; give one for all"
        )
    return schemes[robot.index(name)]


def _proprio_normalizer(
    view: SourceView, source: EpisodeSource, contract: PolicyContract, config: RunConfig
) -> Normalizer | None:
    """Of the numbers that the policy feels, by this dataset's own statistics; None if it lacks any."""
    if not view.proprio_names:
        return None
    columns = [source.proprio_names.index(name) for name in view.proprio_names]
    statistics = _columns_of(training_statistics(config, source)["proprio"], columns)
    return Normalizer.from_statistics(contract.proprio_scheme, statistics)


def _columns_of(statistics: FeatureStatistics, columns: list[int]) -> FeatureStatistics:
    chosen = {
        field.name: tuple(getattr(statistics, field.name)[column] for column in columns)
        for field in dataclasses.fields(statistics)
        if field.name != "count"
    }
    return FeatureStatistics(**chosen, count=statistics.count)
