"""Which extra brings an optional dependency, and the error that says so."""

from robovlms.errors import MissingDependencyError

EXTRAS = {
    "av": "train",
    "bitsandbytes": "quantize",
    "cv2": "robot",
    "gymnasium": "sim",
    "h5py": "train",
    "jinja2": "sim",
    "metaworld": "sim",
    "miniworld": "sim",
    "mujoco": "sim",
    "packaging": "sim",
    "peft": "train",
    "pyarrow": "train",
    "pyglet": "sim",
    "rerun": "viz",
    "safetensors": "train",
    "serial": "robot",
    "torch": "train",
    "transformers": "train",
}


def missing_dependency(error: ModuleNotFoundError) -> MissingDependencyError | None:
    """Return the error that names the extra to install; None if the module belongs to no extra.

    >>> print(missing_dependency(ModuleNotFoundError(name="torch")))
    this needs 'torch', which is not installed; install it with: pip install 'robovlms[train]'
    """
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        return None
    return MissingDependencyError(
        f"this needs {module!r}, which is not installed; install it with: pip install 'robovlms[{EXTRAS[module]}]'"
    )
