import os

import pytest

from robovlms.evaluate.envs import gl


@pytest.mark.parametrize(
    ("system", "given", "has_egl", "has_osmesa", "chosen"),
    [
        ("linux", None, True, True, "egl"),
        ("linux", None, False, True, "osmesa"),
        ("linux", None, False, False, "egl"),  # nothing works: the message names the packages of EGL
        ("linux", "glfw", True, True, "glfw"),
        ("darwin", None, False, False, None),
        ("win32", None, False, False, None),
    ],
)
def test_platform(monkeypatch: pytest.MonkeyPatch, system, given, has_egl, has_osmesa, chosen) -> None:
    monkeypatch.setattr(gl.sys, "platform", system)
    monkeypatch.setattr(gl, "has_egl_device", lambda: has_egl)
    monkeypatch.setattr(gl.ctypes.util, "find_library", lambda name: "libOSMesa.so.8" if has_osmesa else None)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    if given:
        monkeypatch.setenv("MUJOCO_GL", given)
    gl.choose_gl_platform()
    assert os.environ.get("MUJOCO_GL") == chosen
    message = gl.cannot_render(RuntimeError("no device\nmore"))
    assert message.startswith(f"MuJoCo cannot render with MUJOCO_GL={chosen or '(unset)'}: no device")
    assert ("apt-get" in message) == (system == "linux")
