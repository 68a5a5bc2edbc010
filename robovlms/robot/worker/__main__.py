"""`python -m robovlms.robot.worker MODEL OPTIONS`; started by `ModelWorker`."""

import sys

from robovlms.robot.worker.serve import main

sys.exit(main(sys.argv[1:]))
