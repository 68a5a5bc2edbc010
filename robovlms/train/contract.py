"""The contract of a run: what its dataset, its configuration and its backbone say together."""

import dataclasses

from robovlms.actions.contract import PolicyContract
from robovlms.actions.normalize import FeatureStatistics
from robovlms.actions.space import ActionSpace
from robovlms.config import RunConfig
from robovlms.data.mirror import mirror_proprio_signs, mirror_signs, mirror_statistics
from robovlms.data.sources.base import EpisodeSource
from robovlms.data.text import PromptEncoder
from robovlms.errors import ConfigError, StatisticsMissingError, unknown_name


def build_contract(
    config: RunConfig, source: EpisodeSource, prompts: PromptEncoder, predicted_space: ActionSpace | None = None
) -> PolicyContract:
    """Write down what a policy trained on `source` under `config` expects when it runs.

    Args:
        config: of the run.
        source: dataset of the robot that the policy is for.
        prompts: the backbone's tokenizer and prompt format.
        predicted_space: what the head predicts, where it learns from other robots too.

    Raises:
        ConfigError: if a camera of the configuration is not in the dataset.
        StatisticsMissingError: if the dataset has no statistics to normalise with.
    """
    cameras = {camera.name: camera for camera in source.cameras}
    chosen = config.data.cameras or tuple(sorted(cameras))
    for name in chosen:
        if name not in cameras:
            raise ConfigError("data.cameras: " + unknown_name("camera", name, cameras))
    proprio_names = source.proprio_names if config.model.use_proprio else ()
    statistics = training_statistics(config, source)
    for feature in ("action", "proprio") if proprio_names else ("action",):
        if feature not in statistics:
            raise StatisticsMissingError(f"the dataset has no statistics of {feature!r}; training does not guess them")
    return PolicyContract(
        action_space=source.action_space,
        action_scheme=config.data.action_scheme if config.data.action_range is None else "min_max",
        action_statistics=within(statistics["action"], config.data.action_range),
        proprio_names=proprio_names,
        proprio_scheme=config.data.proprio_scheme,
        proprio_statistics=statistics["proprio"] if proprio_names else None,
        cameras=tuple(cameras[name] for name in chosen),
        prompt_template=prompts.template,
        tokenizer_fingerprint=prompts.fingerprint,
        window_size=config.model.window_size,
        fwd_pred_next_n=config.model.fwd_pred_next_n,
        action_mu=config.data.action_mu,
        image_size=None if config.data.image_size is None else (config.data.image_size,) * 2,
        predicted_space=predicted_space,
    )


def training_statistics(config: RunConfig, source: EpisodeSource) -> dict[str, FeatureStatistics]:
    """Statistics of what is trained on: the dataset's, with the share that is mirrored.

    Raises:
        StatisticsMissingError: if the dataset has none.
        ConfigError: if windows should be mirrored and cannot be.
    """
    share = config.data.augment.mirror
    if not share:
        return source.statistics
    known = source.statistics
    mirrored = {"action": mirror_statistics(known["action"], mirror_signs(source.action_space), share)}
    if config.model.use_proprio and "proprio" in known:
        signs = mirror_proprio_signs(source.proprio_names)
        mirrored["proprio"] = mirror_statistics(known["proprio"], signs, share)
    return mirrored


def within(statistics: FeatureStatistics, bounds: tuple[float, float] | None) -> FeatureStatistics:
    """The statistics, with a given range instead of the one that was seen."""
    if bounds is None:
        return statistics
    size = len(statistics.min)
    return dataclasses.replace(statistics, min=(bounds[0],) * size, max=(bounds[1],) * size)
