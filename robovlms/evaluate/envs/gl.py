"""Which OpenGL platform MuJoCo renders with. It reads MUJOCO_GL when it is imported, so the choice comes first."""

import ctypes
import ctypes.util
import os
import sys

APT_LINE = "apt-get install -y --no-install-recommends libegl1 libopengl0 libgl1-mesa-dri"


def choose_gl_platform() -> None:
    """Set MUJOCO_GL to what works without a display, unless the user has set it.

    Linux has EGL, or OSMesa where there is no EGL device; elsewhere MuJoCo's own choice is right, and "egl" an error.
    """
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software renderer: one thread per simulator
    if sys.platform != "linux" or os.environ.get("MUJOCO_GL"):
        return
    use_osmesa = ctypes.util.find_library("OSMesa") is not None and not has_egl_device()
    os.environ["MUJOCO_GL"] = "osmesa" if use_osmesa else "egl"


def has_egl_device() -> bool:
    """Whether EGL offers a device, as MuJoCo will ask.

    Source: https://registry.khronos.org/EGL/extensions/EXT/EGL_EXT_device_enumeration.txt
    """
    name = ctypes.util.find_library("EGL")
    if name is None:
        return False
    library = ctypes.CDLL(name)
    library.eglGetProcAddress.restype = ctypes.c_void_p
    address = library.eglGetProcAddress(b"eglQueryDevicesEXT")
    if not address:
        return False
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))(address)
    count = ctypes.c_int(0)
    return bool(query(0, None, ctypes.byref(count))) and count.value > 0


def cannot_render(error: Exception) -> str:
    """What to tell a user whose machine has no working OpenGL."""
    platform = os.environ.get("MUJOCO_GL", "(unset)")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    hint = f"; install a software renderer: {APT_LINE}" if sys.platform == "linux" else ""
    return f"MuJoCo cannot render with MUJOCO_GL={platform}: {reason}{hint}"
