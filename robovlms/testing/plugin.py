"""The command-line option of the suite; pytest loads this file wherever RoboVLMs is installed."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--backbone`."""
    group = parser.getgroup("robovlms", "conformance of a VLM, pytest --pyargs robovlms.testing")
    group.addoption("--backbone", action="append", help="name of a registered VLM, or package.module:Class")
