"""RoboVLMs turns vision-language models into robot policies.

Importing this package is fast: each name below is loaded from its module when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robovlms.actions.contract import PolicyContract
    from robovlms.actions.normalize import (
        inverse_mu_law_companding,
        mu_law_companding,
        normalize_action,
        regularize_action,
        unnormalize_action,
        unregularize_action,
    )
    from robovlms.actions.space import ActionSpace
    from robovlms.actions.tokenizer import ActionTokenizer
    from robovlms.config import RunConfig, dump_config, load_config
    from robovlms.data.action_prediction import ActionPredictionBatchTransform
    from robovlms.data.action_prediction_collator import ActionPredictionPaddedCollator
    from robovlms.data.action_prediction_dataset import ActionPredictionDataset
    from robovlms.data.datamodule import GRDataModule
    from robovlms.data.dataset import BaseTaskDataset
    from robovlms.data.mixture import Mixture
    from robovlms.data.sources.registry import open_source
    from robovlms.data.streaming import StreamingDataset
    from robovlms.errors import (
        CheckpointError,
        ConfigError,
        ContractMismatchError,
        DataError,
        MissingDependencyError,
        PolicyError,
        RoboVLMsError,
        SafetyError,
        SimulatorError,
        StaleObservationError,
        StatisticsMissingError,
        UnsafeActionError,
    )
    from robovlms.model.backbone.auto import AutoRoboVLM
    from robovlms.model.backbone.flamingo import RoboFlamingo
    from robovlms.model.backbone.kosmos import RoboKosMos, RoboKosmos
    from robovlms.model.backbone.llava import RoboLLaVA
    from robovlms.model.backbone.moondream import RoboMoonDream
    from robovlms.model.backbone.paligemma import RoboPaligemma
    from robovlms.model.backbone.qwen import RoboQwen
    from robovlms.model.backbone.uform import RoboUform
    from robovlms.model.base import BaseRoboVLM
    from robovlms.model.head.base import BasePolicyHead
    from robovlms.model.head.discrete import DiscreteDecoder
    from robovlms.model.head.fc import FCDecoder
    from robovlms.model.head.gpt import GPTDecoder
    from robovlms.model.head.l1_chunk import L1ChunkDecoder
    from robovlms.model.head.lstm import LSTMDecoder
    from robovlms.model.head.mlp import MLPSigmoidHead, MLPTanhHead
    from robovlms.model.vlm import build_vlm
    from robovlms.policy.session import PolicySession, SessionBatch, load_session
    from robovlms.robot.action import ActionType, RobotAction
    from robovlms.robot.goals import execute_action
    from robovlms.robot.parser import VLAActionParser
    from robovlms.robot.prompts import Goal, get_vlm_prompt
    from robovlms.robot.safety.limits import ShieldLimits
    from robovlms.robot.safety.shield import SafetyShield
    from robovlms.robot.safety.validator import ActionValidator
    from robovlms.train.trainer import BaseTrainer
    from robovlms.types import Observation

_MODULES = {
    "ActionPredictionBatchTransform": "data.action_prediction",
    "ActionPredictionDataset": "data.action_prediction_dataset",
    "ActionPredictionPaddedCollator": "data.action_prediction_collator",
    "ActionSpace": "actions.space",
    "ActionTokenizer": "actions.tokenizer",
    "ActionType": "robot.action",
    "ActionValidator": "robot.safety.validator",
    "AutoRoboVLM": "model.backbone.auto",
    "BasePolicyHead": "model.head.base",
    "BaseRoboVLM": "model.base",
    "BaseTaskDataset": "data.dataset",
    "BaseTrainer": "train.trainer",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "ContractMismatchError": "errors",
    "DataError": "errors",
    "DiscreteDecoder": "model.head.discrete",
    "FCDecoder": "model.head.fc",
    "GPTDecoder": "model.head.gpt",
    "GRDataModule": "data.datamodule",
    "Goal": "robot.prompts",
    "L1ChunkDecoder": "model.head.l1_chunk",
    "LSTMDecoder": "model.head.lstm",
    "MLPSigmoidHead": "model.head.mlp",
    "MLPTanhHead": "model.head.mlp",
    "MissingDependencyError": "errors",
    "Mixture": "data.mixture",
    "Observation": "types",
    "PolicyContract": "actions.contract",
    "PolicyError": "errors",
    "PolicySession": "policy.session",
    "RoboFlamingo": "model.backbone.flamingo",
    "RoboKosMos": "model.backbone.kosmos",
    "RoboKosmos": "model.backbone.kosmos",
    "RoboLLaVA": "model.backbone.llava",
    "RoboMoonDream": "model.backbone.moondream",
    "RoboPaligemma": "model.backbone.paligemma",
    "RoboQwen": "model.backbone.qwen",
    "RoboUform": "model.backbone.uform",
    "RoboVLMsError": "errors",
    "RobotAction": "robot.action",
    "RunConfig": "config",
    "SafetyError": "errors",
    "SafetyShield": "robot.safety.shield",
    "SessionBatch": "policy.session",
    "ShieldLimits": "robot.safety.limits",
    "SimulatorError": "errors",
    "StaleObservationError": "errors",
    "StatisticsMissingError": "errors",
    "StreamingDataset": "data.streaming",
    "UnsafeActionError": "errors",
    "VLAActionParser": "robot.parser",
    "build_vlm": "model.vlm",
    "dump_config": "config",
    "execute_action": "robot.goals",
    "get_vlm_prompt": "robot.prompts",
    "inverse_mu_law_companding": "actions.normalize",
    "load_config": "config",
    "load_session": "policy.session",
    "mu_law_companding": "actions.normalize",
    "normalize_action": "actions.normalize",
    "open_source": "data.sources.registry",
    "regularize_action": "actions.normalize",
    "unnormalize_action": "actions.normalize",
    "unregularize_action": "actions.normalize",
}

__all__ = [
    "ActionPredictionBatchTransform",
    "ActionPredictionDataset",
    "ActionPredictionPaddedCollator",
    "ActionSpace",
    "ActionTokenizer",
    "ActionType",
    "ActionValidator",
    "AutoRoboVLM",
    "BasePolicyHead",
    "BaseRoboVLM",
    "BaseTaskDataset",
    "BaseTrainer",
    "CheckpointError",
    "ConfigError",
    "ContractMismatchError",
    "DataError",
    "DiscreteDecoder",
    "FCDecoder",
    "GPTDecoder",
    "GRDataModule",
    "Goal",
    "L1ChunkDecoder",
    "LSTMDecoder",
    "MLPSigmoidHead",
    "MLPTanhHead",
    "MissingDependencyError",
    "Mixture",
    "Observation",
    "PolicyContract",
    "PolicyError",
    "PolicySession",
    "RoboFlamingo",
    "RoboKosMos",
    "RoboKosmos",
    "RoboLLaVA",
    "RoboMoonDream",
    "RoboPaligemma",
    "RoboQwen",
    "RoboUform",
    "RoboVLMsError",
    "RobotAction",
    "RunConfig",
    "SafetyError",
    "SafetyShield",
    "SessionBatch",
    "ShieldLimits",
    "SimulatorError",
    "StaleObservationError",
    "StatisticsMissingError",
    "StreamingDataset",
    "UnsafeActionError",
    "VLAActionParser",
    "build_vlm",
    "dump_config",
    "execute_action",
    "get_vlm_prompt",
    "inverse_mu_law_companding",
    "load_config",
    "load_session",
    "mu_law_companding",
    "normalize_action",
    "open_source",
    "regularize_action",
    "unnormalize_action",
    "unregularize_action",
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
