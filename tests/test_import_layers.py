"""Imports go one way; what must install on a robot imports no torch. Both are read from the source, not tried."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "robovlms").rglob("*.py"))

# Each layer, and the layers below it that it may import; its own modules are always allowed.
BASE = {
    "augment_config",
    "config",
    "errors",
    "extras",
    "model_config",
    "original_config",
    "original_keys",
    "parameter_table",
    "progress",
    "resize",
    "run_folder",
    "typed_yaml",
    "types",
}
ALLOWED = {
    "errors": set(),
    "types": set(),
    "extras": {"errors"},
    "parameter_table": set(),
    "progress": set(),
    "resize": set(),
    "run_folder": {"errors"},
    "typed_yaml": {"errors"},
    "augment_config": {"typed_yaml"},
    "config": {"errors", "typed_yaml", "augment_config", "model_config", "original_config"},
    "model_config": {"typed_yaml"},
    "original_config": {"errors", "config", "original_keys"},
    "original_keys": set(),
    "actions": BASE,
    "data": BASE | {"actions"},
    "model": BASE | {"actions", "data"},
    "train": BASE | {"actions", "data", "model"},
    "policy": BASE | {"actions", "data", "model"},
    "robot": BASE | {"actions"},
    "evaluate": BASE | {"actions", "data", "model", "train", "policy"},
    "testing": BASE | {"actions", "data", "model", "train", "policy"},
    "data_commands": BASE | {"data"},
    "info": BASE | {"actions", "data", "model"},
    "robot_commands": BASE | {"robot"},
    "demo": BASE | {"actions", "data", "model", "train", "policy", "evaluate", "info"},
    "__main__": BASE
    | {"actions", "data", "model", "train", "policy", "evaluate", "info", "demo", "data_commands", "robot_commands"},
    "__init__": BASE | {"actions", "data", "model", "train", "policy", "robot"},
}
# Of `data`, the policy side may know only how an instruction becomes tokens and what a batch is.
DATA_FOR_POLICIES = {"robovlms.data.text", "robovlms.data.batch"}
HEAVY = {
    "torch",
    "transformers",
    "safetensors",
    "pyarrow",
    "av",
    "h5py",
    "rerun",
    "mujoco",
    "metaworld",
    "gymnasium",
    "jinja2",
    "cv2",
    "miniworld",
    "pyglet",
    "rclpy",
    "serial",
}
LIGHT_FILES = [
    file
    for file in FILES
    if file.relative_to(ROOT / "robovlms").parts[0]
    in {"actions", "robot", *(f"{name}.py" for name in ALLOWED)} - {"demo.py"}
]


def layer(file: Path) -> str:
    return file.relative_to(ROOT / "robovlms").parts[0].removesuffix(".py")


def modules_of(tree: ast.AST) -> set[str]:
    """Every module that a tree imports, also within functions."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "robovlms" else {node.module}
            )
    return found


def top_level(tree: ast.Module) -> ast.Module:
    """The statements that run at import: no functions and methods, nothing under `if TYPE_CHECKING`."""
    left_out = (ast.FunctionDef, ast.AsyncFunctionDef)
    is_typing = lambda node: isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)  # noqa: E731
    left = [node for node in tree.body if not isinstance(node, left_out) and not is_typing(node)]
    classes = [node for node in left if isinstance(node, ast.ClassDef)]
    inside = [part for node in classes for part in top_level(ast.Module(node.body, [])).body]
    return ast.Module([*(node for node in left if node not in classes), *inside], [])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_one_way(file):
    own = layer(file)
    assert own in ALLOWED, f"robovlms/{own} has no place in the layers"
    for module in modules_of(ast.parse(file.read_text())):
        names = module.split(".")
        if names[0] == "robovlms" and len(names) > 1:
            assert names[1] == own or names[1] in ALLOWED[own], f"{own} imports {module}"


@pytest.mark.parametrize("file", LIGHT_FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_light_files_import_nothing_heavy(file):
    modules = modules_of(top_level(ast.parse(file.read_text())))
    assert not {module.partition(".")[0] for module in modules} & HEAVY
    if layer(file) == "actions":
        assert not {module.partition(".")[0] for module in modules_of(ast.parse(file.read_text()))} & HEAVY


@pytest.mark.parametrize("own", ["model", "policy"])
def test_inference_imports_no_dataset_code(own):
    for file in (ROOT / "robovlms" / own).rglob("*.py"):
        used = {module for module in modules_of(ast.parse(file.read_text())) if module.startswith("robovlms.data")}
        assert used <= DATA_FOR_POLICIES, f"{file.relative_to(ROOT)} imports {sorted(used - DATA_FOR_POLICIES)}"


def test_the_check_sees_imports_in_functions_and_not_in_type_checking():
    tree = ast.parse(
        "import a.b\nfrom robovlms import model\nif TYPE_CHECKING:\n    import c\n"
        "def f():\n    from robovlms.train import x\n"
        "class C:\n    import d\n    def m(self):\n        import e\n"
    )
    assert modules_of(tree) == {"a.b", "robovlms.model", "c", "robovlms.train", "d", "e"}
    assert modules_of(top_level(tree)) == {"a.b", "robovlms.model", "d"}
