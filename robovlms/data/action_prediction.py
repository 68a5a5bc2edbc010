"""One window of a robot's episode -> what the original RoboVLMs trains on: images, chunks, and a prompt with actions.

A window has W + F steps, see `chunking`; the last action is dropped, so that every one of the W steps has a chunk of F.
There are two ways to put it into words. An action is A tokens, or none for a continuous policy::

    interleave   one row per step of the window; it has seen the image of its own step only
      row w      prompt · F·A actions from step w · eos          discrete, [W, L]
                 prompt · eos                                    continuous, one row, [L]
      labels     only actions and eos; the prompt is -100        continuous: the ids themselves

    segment      one row for the whole window, [L]
      ids        "Here are k step actions …: " · k·A history · question · F·A actions · eos       discrete
                 "Here are k step actions …: " · k placeholders · question · eos                  continuous
      labels     only the F·A actions and eos                    continuous: the ids themselves

Actions outside the episode have labels of -100, and so has an eos that comes after one. In the mode "inference" the
actions given are the history of a step that has no action yet: there are no action chunks, and a segment ends where the
model goes on.

>>> from robovlms.data.text import ByteTokenizer
>>> transform = ActionPredictionBatchTransform(
...     tokenizer=ByteTokenizer(), discrete=False, window_size=2, fwd_pred_next_n=1, model_name="tiny"
... )
>>> images, actions, mask = np.zeros((3, 4, 4, 3), np.uint8), np.zeros((3, 7)), np.array([True, True, False])
>>> item = transform("push", actions, mask, images)
>>> item["image_tensors"].shape, item["action_chunk"].shape, item["action_chunk_mask"].tolist()
(torch.Size([2, 3, 4, 4]), torch.Size([2, 1, 7]), [[True], [True]])
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from PIL import Image
from torch import Tensor

from robovlms.actions.normalize import mu_law_companding, normalize_action, regularize_action
from robovlms.actions.tokenizer import ActionTokenizer
from robovlms.data.chunking import get_tensor_chunk
from robovlms.data.conversation import conversation_format
from robovlms.data.text import Tokenizer
from robovlms.errors import ConfigError, DataError, unknown_name

IGNORE_INDEX = -100  # label of a token that is not learned; what torch's cross-entropy ignores

Tokens = tuple[Int64[Tensor, "*t l"], Int64[Tensor, "*t l"], Bool[Tensor, "*t l"]]  # ids, labels, attention mask


@dataclass(frozen=True, kw_only=True)
class ActionPredictionBatchTransform:
    """Turns one window into the tensors of one training sample.

    Attributes:
        tokenizer: of the text; its begin and end marks may be missing.
        model_name: picks the conversation format, see `conversation_format`.
        text_fn: list of texts -> (ids [k, l], mask [k, l]), with the tokenizer's special tokens; None calls the
            tokenizer. What goes on after the history of a segment is always given to the tokenizer.
        image_fn: list of k Pillow images -> tensor [k, 3, h, w], for example of uint8, which
            policies resize themselves; None gives float32 in [0, 1].
        action_tokenizer: numbers -> ids; needed if `discrete`.
        window_size: W, steps of the window.
        fwd_pred_next_n: F, actions predicted at each.
        organize_type: see the module.
        discrete: whether actions are tokens.
        action_history: whether a segment tells past actions.
        image_history: False gives the image of the current step only, and no image chunks.
        predict_stop_token: whether the eos after discrete actions is learned.
        mode: "train", or "inference" for a window of which only the past is known.
        norm_action, norm_min, norm_max: clip actions to this range and map it to [-1, 1].
        regular_action, x_mean, x_std: then subtract the mean and divide by the standard deviation, numbers or [A].
        use_mu_law: then compress with the mu-law, mu = 255.
        min_action, max_action: what a closed and an open gripper are for the action tokenizer in "interleave"; a
            segment encodes 0 and 1 as they are.
        special_history_id: placeholder of a past action in a continuous segment; None takes the tokenizer's padding
            token, or 0. The original's -100 is taken as it is, but no embedding has it: replace it before a model.
        gripper_dims: which numbers of an action are grippers, 1 = open; everything else becomes 0 = closed. They are
            neither normalised, regularised nor compressed.

    Raises:
        ConfigError: if a choice is unknown, a size is below 1, or an action tokenizer is missing.
    """

    tokenizer: Tokenizer
    model_name: str = "flamingo"
    text_fn: Callable[[list[str]], tuple[Any, Any]] | None = None
    image_fn: Callable[[list[Any]], Tensor] | None = None
    action_tokenizer: ActionTokenizer | None = None
    window_size: int = 16
    fwd_pred_next_n: int = 2
    organize_type: str = "interleave"
    discrete: bool = True
    action_history: bool = True
    image_history: bool = True
    predict_stop_token: bool = True
    mode: str = "train"
    norm_action: bool = False
    norm_min: float = -1.0
    norm_max: float = 1.0
    regular_action: bool = False
    x_mean: float | Sequence[float] | np.ndarray = 0.0
    x_std: float | Sequence[float] | np.ndarray = 1.0
    use_mu_law: bool = False
    min_action: float = -1.0
    max_action: float = 1.0
    special_history_id: int | None = None
    gripper_dims: tuple[int, ...] = (-1,)

    def __post_init__(self) -> None:
        for field, choices in (("organize_type", ("interleave", "segment")), ("mode", ("train", "inference"))):
            if getattr(self, field) not in choices:
                raise ConfigError(f"{field}: " + unknown_name("choice", getattr(self, field), choices))
        for field in ("window_size", "fwd_pred_next_n"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, got {getattr(self, field)}")
        if self.discrete and self.action_tokenizer is None:
            raise ConfigError("discrete is true, but there is no action_tokenizer; give one, or set discrete to false")
        conversation_format(self.model_name)

    def __call__(
        self,
        task_description: str,
        action: Any,
        action_mask: Any = None,
        images: Any = None,
        gripper_images: Any = None,
        *,
        episode_mask: Any = None,
        image_mask: Any = None,
    ) -> dict[str, Tensor | None]:
        """Transform one window.

        Args:
            task_description: what the robot was asked to do.
            action: [W + F, A], in the unit that the settings expect; in inference the [k, A] actions so far.
            action_mask: bool, one per image: True = a step of the episode.
            images: uint8 [s, h, w, 3], or a list of s images; s = W + F, in inference k + 1.
            gripper_images: of a second camera, likewise.
            episode_mask: another name of `action_mask`.
            image_mask: mask of the images, where it differs; alone it is the mask of both.

        Returns:
            ==========================  ===============  ======================================================
            image_tensors               [s, 3, h, w]     s = W; W + F in a segment; 1 without image history
            image_chunk                 [W, F, 3, h, w]  the F images after each, interleave only
            image_chunk_mask            [W, F]
            gripper_image_tensors       [s, 3, h, w]     None without a second camera, and so is its chunk
            gripper_image_chunk         [W, F, 3, h, w]
            input_ids, labels           [L] or [W, L]    see the module
            attention_mask              [L] or [W, L]    False on the actions of an interleaved row, as in the original
            action_tensors              [W + F - 1, A]   in the precision of `action`
            action_mask                 [W + F - 1]
            action_chunk                [W, F, A]        None in inference, and so is its mask
            action_chunk_mask           [W, F]
            ==========================  ===============  ======================================================

        Raises:
            DataError: if the lengths do not fit each other or the settings.
        """
        masks = [mask for mask in (action_mask, episode_mask, image_mask) if mask is not None]
        if not masks or images is None:
            raise DataError("a window needs `images` and one of `action_mask`, `episode_mask`, `image_mask`")
        steps = _mask(masks[0])
        seen = _mask(masks[-1])
        self._check_lengths(len(action), len(steps), len(images), gripper_images)
        image_tensors, image_chunk, image_chunk_mask = self.convert_image(images, seen)
        gripper_image_tensors, gripper_image_chunk, _ = self.convert_image(gripper_images, seen)
        actions, action_mask, action_chunk, action_chunk_mask = self.convert_action(action, steps)
        wrap = {
            "interleave": self.wrap_instruction_and_action_interleave,
            "segment": self.wrap_instruction_and_action_segment,
        }[self.organize_type]
        input_ids, labels, attention_mask = wrap(task_description, actions, action_mask)
        return {
            "image_tensors": image_tensors,
            "image_chunk": image_chunk,
            "image_chunk_mask": image_chunk_mask,
            "gripper_image_tensors": gripper_image_tensors,
            "gripper_image_chunk": gripper_image_chunk,
            "input_ids": input_ids,
            "labels": labels,
            "attention_mask": attention_mask,
            "action_tensors": actions,
            "action_mask": action_mask,
            "action_chunk": action_chunk,
            "action_chunk_mask": action_chunk_mask,
        }

    def convert_image(
        self, images: Any, image_mask: Any
    ) -> tuple[Shaped[Tensor, "s 3 h w"] | None, Shaped[Tensor, "t n 3 h w"] | None, Bool[Tensor, "t n"] | None]:
        """Images of the window, the images that follow each of them, and which of those are real.

        Interleaved images before the episode are replaced by the first real one.

        Args:
            images: uint8 [s, h, w, 3] or a list of s images; None gives three times None.
            image_mask: bool [s], True = an image of the episode.
        """
        if images is None:
            return None, None, None
        if not self.image_history:
            now = min(self.window_size, len(images)) - 1
            return self._tensors([images[now]]), None, None
        tensors = self._tensors(list(images))
        if self.organize_type == "segment":
            return tensors, None, None
        mask = _mask(image_mask)
        first = mask[: self.window_size].int().argmax()  # 0 if none is real
        tensors = tensors[torch.arange(len(tensors)).clamp(min=first)]
        if len(tensors) <= self.fwd_pred_next_n:  # in inference: no image has F others behind it
            return tensors[: self.window_size], None, None
        chunk, chunk_mask = (get_tensor_chunk(x, self.fwd_pred_next_n)[1:] for x in (tensors, mask))
        return tensors[: self.window_size], chunk, chunk_mask

    def convert_action(
        self, action: Any, action_mask: Any
    ) -> tuple[Float[Tensor, "s a"], Bool[Tensor, "m"], Float[Tensor, "t n a"] | None, Bool[Tensor, "t n"] | None]:
        """Actions as they are learned, their mask, and the chunk of F actions from each step on with its mask.

        Args:
            action: [W + F, A]; in inference [k, A].
            action_mask: bool [W + F], in inference [k + 1], True = a step of the episode.
        """
        is_training = self.mode == "train"
        actions, mask = np.asarray(action)[: -1 if is_training else None].copy(), _mask(action_mask)[:-1]
        grippers = self.gripper_dims
        if self.norm_action:
            actions = normalize_action(actions, self.norm_min, self.norm_max, protected_dims=grippers)
        if self.regular_action:
            actions = regularize_action(actions, self.x_mean, self.x_std, protected_dims=grippers)
        if self.use_mu_law:
            actions = mu_law_companding(actions, protected_dims=grippers)
        actions[..., list(grippers)] = actions[..., list(grippers)] == 1
        tensor = torch.from_numpy(actions)
        if not is_training:
            return tensor, mask, None, None
        chunk, chunk_mask = (get_tensor_chunk(x, self.fwd_pred_next_n) for x in (tensor, mask))
        return tensor, mask, chunk, chunk_mask

    def wrap_instruction_and_action_interleave(
        self, task_description: str, action: Float[Tensor, "s a"], action_mask: Bool[Tensor, "m"]
    ) -> Tokens:
        """One row per step of the window, or a single one for a continuous policy; see the module.

        The labels of as many steps at the end of a chunk are ignored as the chunk has masked ones: those behind the
        episode. Windows that reach out of the episode at its beginning belong into a segment.

        Args:
            task_description: what the robot was asked to do.
            action: as `convert_action` gives them, [W + F - 1, A]; in inference [k, A].
            action_mask: True = a step of the episode.
        """
        ids = self._closed(self._encode(self._prompt(self._question(task_description))))
        if not self.discrete:
            return _tokens(ids, ids, [True] * len(ids))
        self._check_steps(action, action_mask)
        size = action.shape[1]
        tokens = self._action_ids(self._gripper_as_extremes(action))
        rows = []
        for step in range(self._num_steps(action)):
            chunk = slice(step, step + self.fwd_pred_next_n)
            num_masked = int((~action_mask[chunk]).sum())
            actions = tokens[chunk.start * size : chunk.stop * size]
            row_ids, labels = self._answer(ids, actions, num_masked * size)
            attended = [True] * (len(ids) - self._num_ends) + [False] * len(actions) + [True] * self._num_ends
            rows.append((row_ids, labels, attended))
        pads = (pad_id(self.tokenizer), IGNORE_INDEX, False)  # in inference the last chunks are shorter
        return _tokens(*(_filled(part, pad) for part, pad in zip(zip(*rows, strict=True), pads, strict=True)))

    def wrap_instruction_and_action_segment(
        self, task_description: str, action: Float[Tensor, "s a"], action_mask: Bool[Tensor, "m"]
    ) -> Tokens:
        """One row with the history, the question and the actions of the current step; see the module.

        Args:
            task_description: what the robot was asked to do.
            action: as `convert_action` gives them, [W + F - 1, A]; in inference [k, A].
            action_mask: True = a step of the episode; other steps of the history are left out.
        """
        self._check_steps(action, action_mask)
        now = self._num_steps(action) - 1
        history = action[:now][action_mask[:now]] if self.action_history else action[:0]
        ids = self._closed(self._segment_prompt(task_description, history))
        if self.discrete:
            num_masked = int((~action_mask[now:]).sum())
            ids, labels = self._answer(ids, self._action_ids(action[now:]), num_masked * action.shape[1])
        else:
            labels = ids
        if self.mode == "inference" and self._num_ends:
            ids, labels = ids[:-1], labels[:-1]
        return _tokens(ids, labels, [True] * len(ids))

    def _segment_prompt(self, task: str, history: Float[Tensor, "k a"]) -> list[int]:
        """Ids of the history and the question."""
        question = self._question(task)
        if not len(history):
            return self._encode(self._prompt(question))
        verb, plural = ("is", "") if len(history) == 1 else ("are", "s")
        told = f"Here {verb} {len(history)} step action{plural} that the robot has taken: "
        before, _, after = self._prompt(told + question).partition(told)
        if self.discrete:
            past = self._action_ids(history)
        else:
            given = self.special_history_id
            past = [pad_id(self.tokenizer) if given is None else given] * len(history)
        rest = self.tokenizer(after, add_special_tokens=False)["input_ids"]
        return [*self._encode(before + told), *past, *rest]

    def _answer(self, ids: list[int], actions: list[int], num_ignored: int) -> tuple[list[int], list[int]]:
        """Ids with the action tokens before the end mark, and their labels."""
        cut = len(ids) - self._num_ends
        end = ids[cut:]
        is_end_learned = self.predict_stop_token and num_ignored == 0
        labels = [IGNORE_INDEX] * cut + actions[: len(actions) - num_ignored] + [IGNORE_INDEX] * num_ignored
        return [*ids[:cut], *actions, *end], [*labels, *(end if is_end_learned else [IGNORE_INDEX] * len(end))]

    def _question(self, task: str) -> str:
        what = "action" if self.fwd_pred_next_n == 1 else f"{self.fwd_pred_next_n} step actions"
        return f"What {what} should the robot take to {task}?"

    def _prompt(self, question: str) -> str:
        bos, eos = (getattr(self.tokenizer, name, None) for name in ("bos_token", "eos_token"))
        return conversation_format(self.model_name).prompt(question, bos=bos, eos=eos)

    def _encode(self, text: str) -> list[int]:
        """Ids of a text, with the tokenizer's special tokens."""
        if self.text_fn is None:
            return list(self.tokenizer(text, add_special_tokens=True)["input_ids"])
        ids, mask = (np.asarray(part) for part in self.text_fn([text]))
        return ids[0][mask[0].astype(bool)].tolist()

    def _closed(self, ids: list[int]) -> list[int]:
        """The ids, with the end mark at their end if the tokenizer has one."""
        end = getattr(self.tokenizer, "eos_token_id", None)
        return ids if end is None or ids[-1] == end else [*ids, end]

    @property
    def _num_ends(self) -> int:
        return int(getattr(self.tokenizer, "eos_token_id", None) is not None)

    def _num_steps(self, action: Tensor) -> int:
        """Steps of the window; in inference the last has no action yet."""
        return self.window_size if self.mode == "train" else len(action) + 1

    def _action_ids(self, action: Float[Tensor, "k a"]) -> list[int]:
        return self.action_tokenizer.encode_actions_to_token_ids(action.flatten())

    def _gripper_as_extremes(self, action: Float[Tensor, "k a"]) -> Float[Tensor, "k a"]:
        """Gripper labels 0 and 1 as the smallest and the largest action."""
        result, grippers = action.clone(), list(self.gripper_dims)
        closed, opened = (torch.tensor(value, dtype=action.dtype) for value in (self.min_action, self.max_action))
        result[:, grippers] = torch.where(action[:, grippers] == 1, opened, closed)
        return result

    def _tensors(self, images: list[Any]) -> Shaped[Tensor, "k 3 h w"]:
        if self.image_fn is not None:
            return self.image_fn([Image.fromarray(x) if isinstance(x, np.ndarray) else x for x in images])
        return torch.from_numpy(np.stack([np.asarray(x) for x in images])).permute(0, 3, 1, 2).contiguous() / 255

    def _check_lengths(self, num_actions: int, num_masks: int, num_images: int, gripper_images: Any) -> None:
        expected = self.window_size + self.fwd_pred_next_n
        if self.mode == "train" and not num_actions == num_masks == num_images == expected:
            raise DataError(
                f"a window of {self.window_size} + {self.fwd_pred_next_n} steps needs as many actions, masks and "
                f"images, got {num_actions}, {num_masks} and {num_images}"
            )
        if gripper_images is not None and len(gripper_images) != num_images:
            raise DataError(f"{len(gripper_images)} gripper images beside {num_images} images")

    def _check_steps(self, action: Tensor, mask: Tensor) -> None:
        expected = self.window_size + self.fwd_pred_next_n - 1 if self.mode == "train" else len(action)
        if not len(action) == len(mask) == expected:
            what = (
                "one mask per image, one image more than actions" if self.mode == "inference" else f"{expected} of both"
            )
            raise DataError(f"mode {self.mode!r}: got {len(action)} actions with {len(mask)} masks; expected {what}")


def _mask(mask: Any) -> Bool[Tensor, "s"]:
    return torch.tensor(np.asarray(mask), dtype=torch.bool)


def pad_id(tokenizer: Any) -> int:
    """Padding token of a tokenizer, 0 if it has none."""
    return getattr(tokenizer, "pad_token_id", None) or 0


def _filled(rows: Sequence[list], value: Any) -> list[list]:
    """Rows of one length, filled up on the right."""
    longest = max(map(len, rows))
    return [row + [value] * (longest - len(row)) for row in rows]


def _tokens(ids: list, labels: list, attended: list) -> Tokens:
    return torch.tensor(ids), torch.tensor(labels), torch.tensor(attended)
