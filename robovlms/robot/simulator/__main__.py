"""`python -m robovlms.robot.simulator`; started by `SimulatedRobot`."""

import os
import sys

from robovlms.robot.simulator.process import main

code = main(sys.argv[1:])
sys.stderr.flush()
os._exit(code)  # threads wait for connections, and pyglet's clean-up needs a window that there never was
