"""The process that guards the wire: small, without a model, and able to stop the robot when everything else is gone."""

from robovlms.robot.guard.client import GuardClient
from robovlms.robot.guard.config import GuardConfig

__all__ = ["GuardClient", "GuardConfig"]
