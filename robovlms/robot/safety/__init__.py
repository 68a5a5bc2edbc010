"""What stands between a decision and the wire."""

from robovlms.robot.safety.command import JointCommand, Reason, VelocityCommand
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.robot.safety.shield import SafetyShield

__all__ = ["JointCommand", "Reason", "SafetyShield", "ShieldLimits", "VelocityCommand"]
