"""RoboVLMs turns vision-language models into robot policies.

Importing this package is fast: each name below is loaded from its module when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robovlms.actions.contract import PolicyContract
    from robovlms.actions.normalize import normalize_action, unnormalize_action
    from robovlms.actions.space import ActionSpace
    from robovlms.config import RunConfig, dump_config, load_config
    from robovlms.data.datamodule import GRDataModule
    from robovlms.data.dataset import BaseTaskDataset
    from robovlms.errors import (
        CheckpointError,
        ConfigError,
        ContractMismatchError,
        DataError,
        MissingDependencyError,
        PolicyError,
        RoboVLMsError,
        SimulatorError,
        StatisticsMissingError,
    )
    from robovlms.model.backbone.paligemma import RoboPaligemma
    from robovlms.model.base import BaseRoboVLM
    from robovlms.model.head.base import BasePolicyHead
    from robovlms.model.head.fc import FCDecoder
    from robovlms.model.head.lstm import LSTMDecoder
    from robovlms.model.head.mlp import MLPSigmoidHead, MLPTanhHead
    from robovlms.model.vlm import build_vlm
    from robovlms.policy.session import PolicySession, load_session
    from robovlms.train.trainer import BaseTrainer
    from robovlms.types import Observation

_MODULES = {
    "ActionSpace": "actions.space",
    "BasePolicyHead": "model.head.base",
    "BaseRoboVLM": "model.base",
    "BaseTaskDataset": "data.dataset",
    "BaseTrainer": "train.trainer",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "ContractMismatchError": "errors",
    "DataError": "errors",
    "FCDecoder": "model.head.fc",
    "GRDataModule": "data.datamodule",
    "LSTMDecoder": "model.head.lstm",
    "MLPSigmoidHead": "model.head.mlp",
    "MLPTanhHead": "model.head.mlp",
    "MissingDependencyError": "errors",
    "Observation": "types",
    "PolicyContract": "actions.contract",
    "PolicyError": "errors",
    "PolicySession": "policy.session",
    "RoboPaligemma": "model.backbone.paligemma",
    "RoboVLMsError": "errors",
    "RunConfig": "config",
    "SimulatorError": "errors",
    "StatisticsMissingError": "errors",
    "build_vlm": "model.vlm",
    "dump_config": "config",
    "load_config": "config",
    "load_session": "policy.session",
    "normalize_action": "actions.normalize",
    "unnormalize_action": "actions.normalize",
}

__all__ = [
    "ActionSpace",
    "BasePolicyHead",
    "BaseRoboVLM",
    "BaseTaskDataset",
    "BaseTrainer",
    "CheckpointError",
    "ConfigError",
    "ContractMismatchError",
    "DataError",
    "FCDecoder",
    "GRDataModule",
    "LSTMDecoder",
    "MLPSigmoidHead",
    "MLPTanhHead",
    "MissingDependencyError",
    "Observation",
    "PolicyContract",
    "PolicyError",
    "PolicySession",
    "RoboPaligemma",
    "RoboVLMsError",
    "RunConfig",
    "SimulatorError",
    "StatisticsMissingError",
    "build_vlm",
    "dump_config",
    "load_config",
    "load_session",
    "normalize_action",
    "unnormalize_action",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        from robovlms.extras import missing_dependency

        raise missing_dependency(error) or error from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
