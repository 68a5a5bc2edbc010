"""Where HDF5 datasets keep what, one entry per publisher, and what their files say of themselves.

::

    robomimic, MimicGen     data                  attrs: env_args (JSON: env_name, env_kwargs with controller and rate)
                            data/demo_0           attrs: num_samples
                              actions             [T, 7]
                              obs/CAMERA_image    uint8 [T, H, W, 3]
                              obs/robot0_eef_pos, robot0_eef_quat, robot0_gripper_qpos
                            mask/train            names of demos
    LIBERO                  data                  attrs: problem_info (JSON: language_instruction), env_args, …
                            data/demo_0
                              actions             [T, 7]
                              obs/CAMERA_rgb      uint8 [T, H, W, 3], the lowest row first
                              obs/ee_states (or ee_pos and ee_ori), gripper_states, joint_states
    mobile base             images                uint8 [T, H, W, 3]
                            actions               [T, 2 or 3]: linear_x, linear_y, (angular_z)
                            language_instruction  a text, or an attribute; else the file's name tells

**Rows of pictures.** OpenGL, with which MuJoCo renders, counts rows from below. robomimic turns its pictures over when
it writes them. LIBERO's raw demonstrations are as rendered (`macros_image_convention` is "opengl"), so upside down;
they are turned over when read. That is a flip of rows, not the rotation by 180° that OpenVLA's copy of LIBERO went
through, which mirrors left and right as well.

**Actions** of robosuite, under robomimic and LIBERO, are for its OSC_POSE controller: a change of position and, as a
rotation vector, of orientation, each number in ±1, which the controller scales to 0.05 m and 0.5 rad (or what its
`output_max` says); gripper -1 opens, +1 closes.

Source: https://github.com/ARISE-Initiative/robomimic (docs/datasets/overview), https://github.com/ARISE-Initiative/robosuite
(controllers/osc.py, models/grippers/panda_gripper.py), https://github.com/Lifelong-Robot-Learning/LIBERO
(scripts/create_dataset.py, libero/benchmark/__init__.py).
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robovlms.errors import DataError

ROBOSUITE_HZ = 20.0
_OUTPUT_MAX = (0.05, 0.05, 0.05, 0.5, 0.5, 0.5)  # m and rad, robosuite's default for OSC_POSE
_EEF_QUATERNION = tuple(f"eef_quat_{axis}" for axis in "xyzw")
_EEF_POSITION = tuple(f"eef_{axis}" for axis in "xyz")
_EEF_ROTATION = tuple(f"eef_rot_{axis}" for axis in "xyz")  # rotation vector, rad
_FINGERS = ("finger_1", "finger_2")  # m
_JOINTS = tuple(f"joint_{n}" for n in range(7))  # rad


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where one kind of file keeps what.

    Attributes:
        fits: whether an open file is of this kind.
        demos: group whose groups are demonstrations; empty = the file is one.
        images: regular expression of the arrays with pictures; its group is the camera's name.
        camera: name of the camera where the expression has no group.
        features: array -> names of its numbers, of the proprioception. One that repeats names is left out.
        about: what a file says of itself, see `About`.
        has_arm: robosuite's arm; otherwise a mobile base.
    """

    fits: Callable[[Any], bool]
    demos: str
    images: str
    camera: str = ""
    features: dict[str, tuple[str, ...]]
    about: Callable[[Any, Path], "About"]
    has_arm: bool


@dataclass(frozen=True, kw_only=True)
class About:
    """What a file says of itself.

    Attributes:
        task: its name.
        instruction: None if the file does not tell.
        control_hz: None if the file does not tell.
        is_upside_down: whether the lowest row of a picture is stored first.
        frame: of an arm's actions, "world" or "base".
        output_max: what an action of 1 is, m and rad; empty for a base.
    """

    task: str
    instruction: str | None
    control_hz: float | None
    is_upside_down: bool
    frame: str
    output_max: tuple[float, ...] = ()


def about_robomimic(file: Any, path: Path) -> About:
    """What `env_args` says. Without a text, the name of the environment in words is the instruction."""
    env = _json_attribute(file["data"], "env_args", path)
    kwargs = env.get("env_kwargs", {})
    name = env.get("env_name") or path.stem
    texts = (found for place in (env, kwargs) for found in (place.get("language_instruction"), place.get("lang")))
    said = next((text for text in texts if text), None)
    return _about_robosuite(
        kwargs, path, task=name, instruction=clean_text(said) if said else words_of(name), is_upside_down=False
    )


def about_libero(file: Any, path: Path) -> About:
    """What `problem_info` says, or else the file's name."""
    data, task = file["data"], path.stem.removesuffix("_demo")
    said = _json_attribute(data, "problem_info", path).get("language_instruction")
    instruction = clean_text(said) if said else libero_instruction(task)
    convention = _text(data.attrs.get("macros_image_convention", "opengl"))
    kwargs = _json_attribute(data, "env_args", path).get("env_kwargs", {})
    return _about_robosuite(kwargs, path, task=task, instruction=instruction, is_upside_down=convention != "opencv")


def about_mobile_base(file: Any, path: Path) -> About:
    """What the attributes `language_instruction` and `control_hz` say, or else the file's name."""
    stored = file.attrs.get("language_instruction")
    if stored is None and "language_instruction" in file:
        stored = file["language_instruction"][()]
    instruction = _one_text(stored, path) if stored is not None else name_instruction(path.stem)
    hz = file.attrs.get("control_hz")
    return About(
        task=instruction or path.stem,
        instruction=instruction,
        control_hz=None if hz is None else float(hz),
        is_upside_down=False,
        frame="base",
    )


def libero_instruction(task: str) -> str:
    """The instruction in the name of a LIBERO task.

    >>> libero_instruction("KITCHEN_SCENE10_put_the_butter_at_the_back_in_the_top_drawer")
    'put the butter at the back in the top drawer'
    >>> libero_instruction("turn_on_the_stove")
    'turn on the stove'
    """
    return re.sub(r"^[A-Z_]+_SCENE\d+_", "", task).replace("_", " ").strip()


def name_instruction(stem: str) -> str | None:
    """The instruction in the name of an episode's file; None if it holds numbers only.

    >>> name_instruction("episode_20250808_123136_go_to_the_left_box")
    'go to the left box'
    >>> name_instruction("episode_0001") is None
    True
    """
    words = [word for word in re.split(r"[_\s-]+", stem) if word and not word.isdigit()]
    text = " ".join(word for word in words if word.lower() != "episode")
    return text or None


def words_of(name: str) -> str:
    """The words of a name in capitals.

    >>> words_of("NutAssemblySquare")
    'nut assembly square'
    """
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)).lower()


def clean_text(said: Any) -> str:
    r"""An instruction that may be a list of words, or have quotation marks around it.

    >>> clean_text(["turn", "on", "the", "stove"]), clean_text('"turn on the stove"\n')
    ('turn on the stove', 'turn on the stove')
    """
    text = " ".join(map(str, said)) if isinstance(said, list) else str(said)
    return text.strip().strip("\"'").strip()


def _about_robosuite(kwargs: dict[str, Any], path: Path, **known: Any) -> About:
    """What the arguments of robosuite's environment say of rate and controller."""
    controller = _arm_controller(kwargs.get("controller_configs") or {})
    kind = controller.get("type", "OSC_POSE")
    is_delta = controller.get("control_delta", True) and controller.get("input_type", "delta") == "delta"
    if kind != "OSC_POSE" or not is_delta:
        raise DataError(
            f"{path}: actions are for robosuite's controller {kind} with {'changes' if is_delta else 'targets'}; "
            "only OSC_POSE with changes is known here"
        )
    frame = controller.get("input_ref_frame", "world")
    if frame not in ("world", "base"):
        raise DataError(f"{path}: actions are in the frame {frame!r}; expected 'world' or 'base'")
    scale = controller.get("output_max", _OUTPUT_MAX)
    scale = [scale] * 6 if isinstance(scale, (int, float)) else scale
    return About(
        control_hz=float(kwargs.get("control_freq", ROBOSUITE_HZ)),
        frame=frame,
        output_max=tuple(float(number) for number in scale),
        **known,
    )


def _arm_controller(config: Any) -> dict[str, Any]:
    """The arm's part of a controller configuration, which newer robosuite keeps per part of the body."""
    config = config[0] if isinstance(config, list) and config else config
    parts = config.get("body_parts") if isinstance(config, dict) else None
    if not isinstance(parts, dict):
        return config if isinstance(config, dict) else {}
    return parts.get("right") or parts.get("arms", {}).get("right") or {}


def _json_attribute(group: Any, name: str, path: Path) -> dict[str, Any]:
    """A JSON attribute; no keys if there is none."""
    stored = group.attrs.get(name)
    if stored is None:
        return {}
    try:
        value = json.loads(_text(stored))
    except ValueError as error:
        raise DataError(f"{path}: attribute {name!r} of {group.name} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: attribute {name!r} of {group.name}: expected an object, got {value!r}")
    return value


def _one_text(stored: Any, path: Path) -> str:
    """A text, or an array of equal texts."""
    texts = {_text(one).strip() for one in getattr(stored, "flat", [stored])}
    if len(texts) != 1 or not next(iter(texts)):
        raise DataError(f"{path}: language_instruction: expected one text, found {sorted(texts)[:3]}")
    return texts.pop()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _is_libero(file: Any) -> bool:
    return "data" in file and any(name in file["data"].attrs for name in ("problem_info", "bddl_file_name"))


# The first one that fits.
LAYOUTS: dict[str, Layout] = {
    "libero": Layout(
        fits=_is_libero,
        demos="data",
        images=r"obs/(\w+)_rgb",
        features={
            "obs/ee_states": _EEF_POSITION + _EEF_ROTATION,
            "obs/ee_pos": _EEF_POSITION,
            "obs/ee_ori": _EEF_ROTATION,
            "obs/gripper_states": _FINGERS,
            "obs/joint_states": _JOINTS,
        },
        about=about_libero,
        has_arm=True,
    ),
    "robomimic": Layout(
        fits=lambda file: "data" in file,
        demos="data",
        images=r"obs/(\w+)_image",
        features={
            "obs/robot0_eef_pos": _EEF_POSITION,
            "obs/robot0_eef_quat": _EEF_QUATERNION,
            "obs/robot0_gripper_qpos": _FINGERS,
        },
        about=about_robomimic,
        has_arm=True,
    ),
    "mobile_base": Layout(
        fits=lambda file: "images" in file and "actions" in file,
        demos="",
        images="images",
        camera="front",
        features={},
        about=about_mobile_base,
        has_arm=False,
    ),
}
