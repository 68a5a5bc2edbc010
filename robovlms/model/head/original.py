"""Weights of the original RoboVLMs' heads, read key by key."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from robovlms.errors import CheckpointError

_PREFIX = re.compile(r"^(?:module\.)?(?:model\.)?act_head\.")
_CAUSAL_BUFFERS = (".attn.bias", ".attn.masked_bias")  # constants of an older GPT-2, not weights
_NOT_OF_THE_HEAD = frozenset(
    {
        "policy_rnn_dropout_p",  # acts between LSTM layers in training only and has no weights
        "type",
        "tokenizer",
        "action_space",
        "token_source",
        "history_type",
        "with_history",
        "fill_zero",
    }
)


def constructor_keywords(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an original head that a head here takes.

    Left out are `policy_rnn_dropout_p`, which acts in training only and has no weights, and what belongs to the
    sequence rather than the head: `type`, `tokenizer`, `action_space`, `token_source`, `history_type`,
    `with_history`, `fill_zero`.
    """
    return {name: value for name, value in settings.items() if name not in _NOT_OF_THE_HEAD}


def load_original(head: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Copy the weights of an original head into `head`, every key matched.

    Args:
        head: filled in place, in its own dtype.
        state_dict: as in `BasePolicyHead.from_original`.

    Raises:
        CheckpointError: names the first key that is missing, unknown or of another shape.
    """
    weights, expected = _head_weights(state_dict), head.state_dict()
    for key in sorted(expected.keys() | weights.keys()):
        wanted = tuple(expected[key].shape) if key in expected else "no such key"
        found = tuple(weights[key].shape) if key in weights else "no such key"
        if wanted != found:
            name = type(head).__name__
            raise CheckpointError(f"weights of {name}: {key}: the head here expects {wanted}, the file has {found}")
    head.load_state_dict(weights)


def _head_weights(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    of_head = {key: _PREFIX.sub("", key) for key in state_dict if _PREFIX.match(key)}
    names = of_head or {key: key.removeprefix("module.") for key in state_dict}
    return {name: state_dict[key] for key, name in names.items() if not name.endswith(_CAUSAL_BUFFERS)}
