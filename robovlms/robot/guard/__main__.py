"""Started by `GuardClient`: ``python -m robovlms.robot.guard URGENT_FD STREAM_FD``."""

import sys

from robovlms.robot.guard.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
