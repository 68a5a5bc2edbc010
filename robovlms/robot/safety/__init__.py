"""What stands between a decision and the wire."""

from robovlms.robot.safety.command import Command, JointCommand, Reason, VelocityCommand
from robovlms.robot.safety.joint_limits import JointLimits
from robovlms.robot.safety.joint_shield import JointShield
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.robot.safety.shield import SafetyShield
from robovlms.robot.safety.stopping import StoppingDistance, stopping_distance, stopping_lines
from robovlms.robot.safety.validator import ActionValidator
from robovlms.robot.safety.zones import SlowZone, Zones

__all__ = [
    "ActionValidator",
    "Command",
    "JointCommand",
    "JointLimits",
    "JointShield",
    "Reason",
    "SafetyShield",
    "ShieldLimits",
    "SlowZone",
    "StoppingDistance",
    "VelocityCommand",
    "Zones",
    "stopping_distance",
    "stopping_lines",
]
