"""What can decide: a model that writes text about a picture, or a policy that answers with a chunk of actions.

A model is named in the configuration, either as a key of `MODELS` or as "package.module:name" of your own. The name is
called with the configured options, in the worker's process, and returns a `TextModel` or a `ChunkModel`.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from robovlms.errors import ConfigError, unknown_name
from robovlms.types import Observation

MODELS = {
    "colour": "robovlms.robot.simulator.colour_detector:ColourDetector",
    "policy": "robovlms.policy.robot_models:PolicyModel",
    "vlm": "robovlms.policy.robot_models:WordsModel",
}


@runtime_checkable
class TextModel(Protocol):
    """Any VLM of this package, or anything else that answers in words."""

    def generate(self, prompt: str, image: UInt8[np.ndarray, "h w 3"]) -> str:
        """What the model writes after `prompt`."""


@runtime_checkable
class ChunkModel(Protocol):
    """A trained policy.

    Attributes:
        contract_json: the policy's contract, as `PolicyContract.to_json` writes it.
    """

    contract_json: str

    def chunk(self, observation: Observation) -> Float[np.ndarray, "n a"]:
        """The next n actions in physical units."""


def find_model(name: str) -> Callable[..., Any]:
    """What makes a model; its module is imported.

    Raises:
        ConfigError: if there is no such model.
    """
    module, colon, attribute = MODELS.get(name, name).partition(":")
    if not colon:
        raise ConfigError(unknown_name("model", name, MODELS) + ", or package.module:name of your own")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # a library that the model needs
        raise ConfigError(f"model {name!r}: there is no module {error.name!r}") from error
    except AttributeError as error:
        raise ConfigError(f"model {name!r}: {module} has no {attribute!r}") from error


def make_model(name: str, options: Mapping[str, Any]) -> TextModel | ChunkModel:
    """Load a model.

    Raises:
        ConfigError: if the name or an option is unknown, or the model answers neither in text nor in chunks.
    """
    try:
        model = find_model(name)(**options)
    except TypeError as error:
        raise ConfigError(f"model {name!r} does not take the options {dict(options)}: {error}") from error
    if not isinstance(model, (TextModel, ChunkModel)):
        raise ConfigError(f"model {name!r}: {type(model).__name__} has neither generate(prompt, image) nor chunk(…)")
    return model
