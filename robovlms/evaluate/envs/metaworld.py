"""Meta-World: 50 tasks of a Sawyer arm in MuJoCo, with scripted experts.

Source: McLean et al., "Meta-World+", 2025, https://arxiv.org/abs/2505.11289; package `metaworld` 3.1.1.
"""

import time
import warnings
import weakref
from typing import Any

import numpy as np

from robovlms.actions.contract import CameraSpec
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.errors import ConfigError, ContractMismatchError, MissingDependencyError, SimulatorError, unknown_name
from robovlms.evaluate.envs.base import Environment, StepOutcome
from robovlms.evaluate.envs.gl import cannot_render, choose_gl_platform
from robovlms.evaluate.envs.metaworld_tasks import INSTRUCTIONS
from robovlms.types import Observation

# One unit of translation moves the arm's target by 1 cm: `action_scale` = 1/100 m in SawyerXYZEnv. The gripper takes an
# effort, of which the experts use many values, so it is regressed: rounded to open and close, the experts of assembly,
# basketball and pick-out-of-hole drop from 19-20 of 20 episodes to none.
ACTION_SPACE = ActionSpace(
    dimensions=(
        ActionDimension(name="x", unit="cm", low=-1.0, high=1.0),
        ActionDimension(name="y", unit="cm", low=-1.0, high=1.0),
        ActionDimension(name="z", unit="cm", low=-1.0, high=1.0),
        ActionDimension(name="gripper_effort", unit="1", low=-1.0, high=1.0),
    ),
    frame="world",
    is_delta=True,
    control_hz=80.0,  # 5 physics steps of 2.5 ms
)
CAMERAS = ("corner", "corner2", "corner3", "corner4", "topview", "behindGripper", "gripperPOV")
QUALITIES = ("fast", "reference")
_UPSIDE_DOWN = ("corner2", "corner3", "corner4")  # mounted rotated by 180 degrees
_EPISODE_STEPS = 500  # `max_path_length` of SawyerXYZEnv; stepping on is an error there


class MetaWorldEnvironment(Environment):
    """One Meta-World task.

    The layout of an episode depends on its seed alone. The goal is not part of the observation: the policy must see it.

    Args:
        task: task name, with or without "-v3".
        image_size: height and width of a frame in pixels.
        camera: one of `CAMERAS`.
        render_quality: "reference" is MuJoCo's default; "fast" leaves out shadows, reflections and anti-aliasing, which
            cost most of the time of software rendering.

    Raises:
        ConfigError: if task, camera or quality is unknown.
        MissingDependencyError: if metaworld is not installed.
        SimulatorError: if MuJoCo cannot render on this machine.
    """

    name = "metaworld"
    action_space = ACTION_SPACE
    proprio_names = ("x", "y", "z", "gripper_opening")
    robot_type = "sawyer"
    perturbed_dims = (0, 1, 2)  # not the gripper: an expert that drops its object seldom recovers

    def __init__(
        self,
        task: str,
        *,
        image_size: int = 96,
        camera: str = "corner4",
        render_quality: str = "fast",
    ) -> None:
        self.task = self.full_task_name(task)
        self.instruction = self.instruction_of(self.task)
        if camera not in CAMERAS:
            raise ConfigError(unknown_name("Meta-World camera", camera, CAMERAS))
        if render_quality not in QUALITIES:
            raise ConfigError(unknown_name("render quality", render_quality, QUALITIES))
        self._camera, self._image_size = camera, image_size
        source = f"metaworld/{camera}/{render_quality}"
        self.cameras = (CameraSpec(name="static", height=image_size, width=image_size, source=source),)
        self._env, self._expert = _make(self.task)
        self._renderer: Any = None
        self._free_renderer: weakref.finalize | None = None
        if render_quality == "fast":
            _lower_quality(self._env.model)
        self._state: np.ndarray | None = None
        self._steps = 0

    @staticmethod
    def full_task_name(task: str) -> str:
        """Task name with its version.

        >>> MetaWorldEnvironment.full_task_name("door-open")
        'door-open-v3'
        """
        for name in (task, f"{task}-v3"):
            if name in INSTRUCTIONS:
                return name
        raise ConfigError(unknown_name("Meta-World task", task, INSTRUCTIONS))

    @staticmethod
    def instruction_of(task: str) -> str:
        return INSTRUCTIONS[task]

    @staticmethod
    def options_for(cameras: tuple[CameraSpec, ...]) -> dict[str, Any]:
        if len(cameras) != 1 or cameras[0].name != "static" or cameras[0].height != cameras[0].width:
            raise ContractMismatchError(f"Meta-World shows one square camera 'static'; the checkpoint needs {cameras}")
        simulator, _, view = cameras[0].source.partition("/")
        camera, _, quality = view.partition("/")
        if simulator != "metaworld" or camera not in CAMERAS or quality not in QUALITIES:
            raise ContractMismatchError(
                f"the checkpoint was trained on pictures of {cameras[0].source!r}; Meta-World shows "
                f"'metaworld/CAMERA/QUALITY' with a camera of {list(CAMERAS)} and a quality of {list(QUALITIES)}"
            )
        return {"image_size": cameras[0].height, "camera": camera, "render_quality": quality}

    def reset(self, seed: int) -> None:
        self._env.seed(seed)
        self._state, _ = self._env.reset(seed=seed)
        self._steps = 0

    def observe(self) -> Observation:
        state = self._current_state()
        return Observation(
            images={"static": self._render()},
            proprio=state[:4].astype(np.float32),
            instruction=self.instruction,
            timestamp_s=time.monotonic(),
        )

    def step(self, action: np.ndarray) -> StepOutcome:
        self._current_state()
        if action.shape != (ACTION_SPACE.size,) or not np.isfinite(action).all():
            raise SimulatorError(
                f"expected {ACTION_SPACE.size} finite numbers as action, got {np.asarray(action).tolist()}"
            )
        clipped = np.clip(action, ACTION_SPACE.low, ACTION_SPACE.high).astype(np.float32)
        self._state, _, _, _, info = self._env.step(clipped)
        self._steps += 1
        return StepOutcome(is_success=bool(info["success"]), is_over=self._steps >= _EPISODE_STEPS)

    def expert_action(self) -> np.ndarray:
        with warnings.catch_warnings():  # experts warn of actions beyond the bounds, which are clipped here
            warnings.filterwarnings("ignore", message="Constant", category=UserWarning)
            action = self._expert.get_action(self._current_state())
        return np.clip(action, ACTION_SPACE.low, ACTION_SPACE.high).astype(np.float32)

    def close(self) -> None:
        if self._free_renderer is not None:
            self._free_renderer()
        self._renderer = self._free_renderer = None
        self._env.close()

    def _render(self) -> np.ndarray:
        import mujoco

        try:
            if self._renderer is None:  # now, because the quality is read when the GL context is made
                self._renderer = mujoco.Renderer(self._env.model, self._image_size, self._image_size, max_geom=1000)
                # Also when the interpreter ends, while EGL is still there to take the context back.
                self._free_renderer = weakref.finalize(self, self._renderer.close)
            self._renderer.update_scene(self._env.data, camera=self._camera)
            frame = self._renderer.render()
        except Exception as error:  # every GL platform fails in its own way
            raise SimulatorError(cannot_render(error)) from error
        return np.ascontiguousarray(frame[::-1, ::-1]) if self._camera in _UPSIDE_DOWN else frame

    def _current_state(self) -> np.ndarray:
        if self._state is None:
            raise SimulatorError("reset(seed) must come before the first observation or action")
        if self._steps >= _EPISODE_STEPS:
            raise SimulatorError(f"the episode is over after {_EPISODE_STEPS} steps; call reset(seed)")
        return self._state


def _make(task: str) -> tuple[Any, Any]:
    """Return the bare environment, its layout free to follow the seed, and the expert."""
    choose_gl_platform()
    try:
        import metaworld
        from metaworld.policies import ENV_POLICY_MAP
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Meta-World needs {error.name!r}, which is not installed; install it with: pip install 'robovlms[sim]'"
        ) from error
    except (ImportError, AttributeError, RuntimeError) as error:
        raise SimulatorError(cannot_render(error)) from error
    benchmark = metaworld.MT1(task, seed=42)
    env = benchmark.train_classes[task]()
    env.set_task(benchmark.train_tasks[0])
    env._freeze_rand_vec = False
    env.seeded_rand_vec = True
    return env, ENV_POLICY_MAP[task]()


def _lower_quality(model: Any) -> None:
    """Must come before the first frame: MuJoCo reads it when the GL context is made."""
    model.vis.quality.shadowsize = 0
    model.vis.quality.offsamples = 0
    model.mat_reflectance[:] = 0
    model.light_castshadow[:] = 0
