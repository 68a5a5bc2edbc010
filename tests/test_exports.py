import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import robovlms

TREE = ast.parse(Path(robovlms.__file__).read_text())


@pytest.mark.parametrize("name", robovlms.__all__)
def test_every_exported_name_is_importable(name):
    module = importlib.import_module(f"robovlms.{robovlms._MODULES[name]}")
    assert getattr(robovlms, name) is getattr(module, name)
    assert getattr(module, name).__module__ == module.__name__


def test_the_list_the_modules_and_the_type_imports_agree():
    typed = {
        (alias.name, node.module.removeprefix("robovlms."))
        for block in TREE.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == set(robovlms._MODULES.items())
    assert sorted(robovlms.__all__) == sorted(robovlms._MODULES)
    assert set(robovlms.__all__) <= set(dir(robovlms))


def test_every_error_is_exported():
    from robovlms import errors

    defined = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert defined <= set(robovlms.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'RoboUnknown'"):
        _ = robovlms.RoboUnknown


def test_a_missing_dependency_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "robovlms.model.vlm", raising=False)
    monkeypatch.delitem(vars(robovlms), "build_vlm", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(robovlms.MissingDependencyError, match=r"'torch'.*pip install 'robovlms\[train\]'"):
        _ = robovlms.build_vlm


def test_importing_the_package_imports_no_heavy_module():
    code = """
import sys
import robovlms
robovlms.Observation, robovlms.ActionSpace, robovlms.PolicyContract, robovlms.load_config
print(sorted({"torch", "transformers", "mujoco", "metaworld", "pyarrow", "av"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
