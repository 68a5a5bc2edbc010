"""What the guard is told at its start, once."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robovlms.errors import ConfigError, unknown_name
from robovlms.robot.drivers import DRIVERS
from robovlms.robot.output.loop import Shield, check_timing


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """How the guard drives; plain values only.

    Attributes:
        driver: key of `robovlms.robot.drivers.DRIVERS`.
        driver_options: keywords of its class.
        body: "base" (velocities) or "arm" (positions of joints).
        limits: of `ShieldLimits` for a base, of `JointLimits` for an arm.
        rate_hz: commands per second to the robot.
        watchdog_s: without a command for so long, the robot comes to rest; without a sign of the guard for so long,
            the client takes over.
        realtime: ask the system to run the guard before everything else (SCHED_RR, sched(7)), so that a brain that
            computes on all cores does not make it late; granted to root, and to users with `rtprio` in limits.conf(5).
            False for a driver that computes much itself, as a simulator does.
        measured: where the joints of an arm are at the start, rad or m; None for a base.

    Raises:
        ConfigError: if values are unknown or contradict each other.
        SafetyError: if a limit is missing or wrong.
    """

    driver: str
    driver_options: dict[str, Any] = field(default_factory=dict)
    body: str = "base"
    limits: dict[str, Any]
    rate_hz: float = 50.0
    watchdog_s: float = 0.2
    realtime: bool = True
    measured: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.driver not in DRIVERS:
            raise ConfigError(unknown_name("driver", self.driver, DRIVERS))
        check_timing(self.rate_hz, self.watchdog_s)
        self.open_shield()

    def open_shield(self) -> Shield:
        """Return a new shield with these limits.

        Raises:
            ConfigError: if there is none for this body.
            SafetyError: if a limit is missing or wrong.
        """
        if self.body == "base":
            from robovlms.robot.safety.limits import ShieldLimits
            from robovlms.robot.safety.shield import SafetyShield

            return SafetyShield(ShieldLimits.from_dict(self.limits))
        if self.body == "arm":
            from robovlms.robot.safety.joint_limits import JointLimits
            from robovlms.robot.safety.joint_shield import JointShield

            return JointShield(JointLimits.from_dict(self.limits), self.measured)
        raise ConfigError(unknown_name("body", self.body, ("base", "arm")))

    def to_dict(self) -> dict[str, Any]:
        """Plain values; inverse of `from_dict`."""
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "GuardConfig":
        """Inverse of `to_dict`.

        Raises:
            ConfigError: if a key is unknown.
        """
        names = [entry.name for entry in dataclasses.fields(cls)]
        unknown = [key for key in values if key not in names]
        if unknown:
            raise ConfigError(unknown_name("setting of the guard", unknown[0], names))
        measured = values.get("measured")
        return cls(**{**values, "measured": None if measured is None else tuple(measured)})
