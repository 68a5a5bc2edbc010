"""From the parameter names of a released checkpoint to ours: an ordered list of rules, and loading without leftovers.

Every key must match a rule: renamed, cut into parts, reshaped, or dropped for a reason that the rule states. Then every
parameter must have got a tensor of its shape. Rules look at names and shapes only, so they also work on tensors of the
`meta` device.

>>> rules = [
...     split(r"h\\.(\\d+)\\.qkv\\.weight", [rf"layers.\\1.{name}_proj.weight" for name in "qkv"]),
...     rename(r"wte\\.weight", "embed_tokens.weight"),
...     drop(r"rope\\.inv_freq", "computed from the configuration"),
... ]
>>> state = {"h.0.qkv.weight": torch.zeros(6, 2), "wte.weight": torch.zeros(5, 2), "rope.inv_freq": torch.zeros(1)}
>>> {name: list(tensor.shape) for name, tensor in apply_rules(state, rules, "the example").items()}
{'layers.0.q_proj.weight': [2, 2], 'layers.0.k_proj.weight': [2, 2], 'layers.0.v_proj.weight': [2, 2], \
'embed_tokens.weight': [5, 2]}
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robovlms.errors import CheckpointError

Cut = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Rule:
    """What becomes of the keys that match.

    Attributes:
        pattern: regular expression of a whole key.
        to: our name of each part, with the pattern's groups as \\1, \\2, …; none = the tensor is not used.
        cut: tensor -> parts; None takes the tensor as it is.
        reason: why a tensor is not used.
    """

    pattern: str
    to: tuple[str, ...] = ()
    cut: Cut | None = None
    reason: str = ""


def rename(pattern: str, to: str) -> Rule:
    """The tensor goes by another name."""
    return Rule(pattern, (to,))


def reshape(pattern: str, to: str, change: Callable[[Tensor], Tensor]) -> Rule:
    """The tensor goes by another name, in another shape."""
    return Rule(pattern, (to,), lambda tensor: [change(tensor)])


def split(pattern: str, to: Iterable[str], cut: Cut = lambda tensor: tensor.chunk(3)) -> Rule:
    """The tensor holds several; by default three of the same size, one after the other."""
    return Rule(pattern, tuple(to), cut)


def drop(pattern: str, reason: str) -> Rule:
    """The tensor is not used."""
    return Rule(pattern, reason=reason)


def thirds_of_each_head(num_heads: int) -> Cut:
    """Cut rows that are ordered by head, then query | key | value, into all queries, all keys and all values."""

    def cut(tensor: Tensor) -> list[Tensor]:
        heads = tensor.unflatten(0, (num_heads, 3, -1))
        return [heads[:, part].flatten(0, 1) for part in range(3)]

    return cut


def apply_rules(state: Mapping[str, Tensor], rules: Sequence[Rule], source: str) -> dict[str, Tensor]:
    """Return the tensors under our names; the first rule that matches a key counts.

    Args:
        state: released name -> tensor.
        rules: in order.
        source: where the tensors come from, for messages.

    Raises:
        CheckpointError: names a key that no rule knows, or two keys that become the same parameter.
    """
    compiled = [(re.compile(rule.pattern), rule) for rule in rules]
    result: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for key, tensor in state.items():
        match, rule = _first_match(compiled, key, source)
        parts = [tensor] if rule.cut is None else rule.cut(tensor)
        for template, part in zip(rule.to, parts if rule.to else (), strict=True):
            name = match.expand(template)
            if name in result:
                raise CheckpointError(f"{source}: both {origin[name]!r} and {key!r} are {name!r}; keep one of them")
            result[name], origin[name] = part, key
    return result


def _first_match(compiled: list[tuple[re.Pattern[str], Rule]], key: str, source: str) -> tuple[re.Match[str], Rule]:
    for pattern, rule in compiled:
        match = pattern.fullmatch(key)
        if match:
            return match, rule
    raise CheckpointError(f"{source}: nothing is known of the tensor {key!r}; is this a checkpoint of another model?")


def load_exactly(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors into a module's parameters and saved buffers; all of them, and none too many.

    Raises:
        CheckpointError: names what is missing, unknown, or of another shape.
    """
    own = module.state_dict()
    problems = [f"no tensor for {name!r} {list(own[name].shape)}" for name in own if name not in state]
    problems += [f"{name!r} is not a parameter of this model" for name in state if name not in own]
    problems += [
        f"{name!r} is {list(tensor.shape)}, expected {list(own[name].shape)}"
        for name, tensor in state.items()
        if name in own and tensor.shape != own[name].shape
    ]
    if problems:
        more = f"; … ({len(problems)} problems in all)" if len(problems) > 4 else ""
        raise CheckpointError(f"{source} does not fit {type(module).__name__}: {'; '.join(problems[:4])}{more}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])


def shape_of(state: Mapping[str, Tensor], name: str, source: str) -> tuple[int, ...]:
    """Shape of a tensor that tells the size of the model.

    Raises:
        CheckpointError: if it is not there.
    """
    if name not in state:
        raise CheckpointError(f"{source}: no tensor for {name!r}; is this a checkpoint of another model?")
    return tuple(state[name].shape)


def count_layers(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many layers there are: one more than the largest number that the pattern's group finds in the names."""
    numbers = [int(match[1]) for match in (re.match(pattern, name) for name in state) if match]
    return max(numbers, default=-1) + 1
