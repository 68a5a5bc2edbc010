"""Zones, in small numbers by hand."""

import math

import pytest

from robovlms.errors import SafetyError
from robovlms.robot.safety import Reason, SafetyShield, ShieldLimits, SlowZone, Zones

USUAL = {
    "max_velocity": (0.5, 0.5, 1.0),
    "max_acceleration": (50.0, 50.0, 50.0),
    "max_deceleration": (1.0, 1.0, 3.0),
    "max_step_s": 0.1,
}


def step(zones, velocity, pose, **more):
    """What a shield at rest makes of a velocity at once."""
    return SafetyShield(ShieldLimits(**USUAL, zones=zones)).step(velocity, 1.0, 0.0, 0.0, pose=pose, **more)


def test_before_a_wall_it_is_as_fast_as_it_can_brake():
    zones = Zones(margin_m=0.1, workspace=[[0, 0], [4, 4]])
    # 0.055 m to go: 0.25 m/s for 0.1 s and 0.25²/2 m of braking would be 0.05625 m.
    sent = step(zones, (0.5, 0.0, 0.0), (4 - 0.1 - 0.05625, 2.0, 0.0))
    assert sent.linear_x == pytest.approx(0.25)
    assert sent.reasons == (Reason.ZONE,)
    assert step(zones, (-0.5, 0.0, 0.0), (3.9, 2.0, 0.0)).linear_x == -0.5
    assert step(zones, (0.5, 0.0, 0.0), (3.9, 2.0, 0.0)).linear_x == 0.0
    assert step(zones, (0.5, 0.0, 0.0), (3.8, 2.0, math.pi / 2)).linear_x == 0.5
    assert step(zones, (0.5, 0.0, 0.0), (3.9, 2.0, math.pi / 2)).linear_x == 0.5


def test_an_old_pose_counts_as_what_may_have_been_driven_since():
    zones = Zones(margin_m=0.0, workspace=[[0, 0], [4, 4]])
    assert step(zones, (0.5, 0.0, 0.0), (4 - 0.05625 - 0.5 * 0.2**2, 2.0, 0.0), pose_age_s=0.2).linear_x == (
        pytest.approx(0.25)
    )


def test_a_slow_zone_and_an_area_to_keep_out_of():
    zones = Zones(margin_m=0.0, keep_out=[[[2, 0], [3, 1]]], slow=[{"area": [[0, 0], [1, 1]], "max_speed": 0.2}])
    assert step(zones, (0.4, 0.3, 0.2), (0.5, 0.5, 0.0)).velocity == pytest.approx((0.16, 0.12, 0.08))
    assert step(zones, (0.5, 0.0, 0.0), (2.5, 0.5, 0.0)).linear_x == 0.0
    assert step(zones, (0.5, 0.0, 0.0), (1.95, 0.5, 0.0)).linear_x < 0.3
    assert step(zones, (0.5, 0.0, 0.0), (1.0, 2.0, 0.0)).linear_x == 0.5


def test_without_a_pose_only_a_stop_is_not_told_off():
    zones = Zones(margin_m=0.0, workspace=[[0, 0], [4, 4]])
    assert step(zones, (0.5, 0.0, 0.0), None).reasons == (Reason.ZONE,)
    assert step(zones, (0.0, 0.0, 0.0), None).reasons == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "margin_m"),
        ({"margin_m": -1}, "margin_m"),
        ({"margin_m": 0, "max_pose_age_s": 0}, "max_pose_age_s"),
        ({"margin_m": 0, "workspace": [[0, 0]]}, "workspace: expected corners"),
        ({"margin_m": 0, "workspace": [[0, 0], [1, 0]]}, "workspace: expected corners around an area"),
        ({"margin_m": 0, "workspace": [[0, 0], [1, math.nan]]}, "workspace, corner 1"),
        ({"margin_m": 0, "workspace": [[0, 0], [1, 1e9]]}, "within ±1e\\+06"),
        ({"margin_m": 0, "workspace": [[0, 0], [1]]}, r"workspace, corner 1: expected \[x, y\]"),
        ({"margin_m": 0, "keep_out": 3}, "keep_out: expected a list"),
        ({"margin_m": 0, "slow": [{"area": [[0, 0], [1, 1]]}]}, "'max_speed' is missing"),
        ({"margin_m": 0, "slow": [{"area": [[0, 0], [1, 1]], "max_speed": 0}]}, "max_speed"),
        ({"margin_m": 0, "slov": []}, "did you mean 'slow'"),
    ],
)
def test_wrong_zones_are_refused_by_name(values, message):
    with pytest.raises(SafetyError, match=message):
        Zones.from_dict(values)


def test_zones_survive_a_file():
    area = [[0, 0], [1, 0], [0, 1]]
    zones = Zones(margin_m=0.2, workspace=[[0, 0], [4, 4]], keep_out=[area], slow=[SlowZone(area, 0.1)])
    limits = ShieldLimits(**USUAL, zones=zones)
    assert ShieldLimits.from_dict(limits.to_dict()) == limits


def test_zones_need_the_direction_to_be_kept():
    with pytest.raises(SafetyError, match="keep_direction"):
        ShieldLimits(**USUAL, keep_direction=False, zones=Zones(margin_m=0.0))
