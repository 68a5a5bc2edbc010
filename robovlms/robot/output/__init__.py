"""From the newest command to the wire, at a fixed rate: the thread that owns the shield and the driver."""

from robovlms.robot.output.loop import ShieldedOutput
from robovlms.robot.output.record import TickRecord

__all__ = ["ShieldedOutput", "TickRecord"]
