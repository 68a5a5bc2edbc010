#!/usr/bin/env bash
# All tests, as many at a time as there are processors. Arguments go to pytest, for example: scripts/test.sh tests/test_config.py -k round_trip
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
MUJOCO_GL="$(cat "$root/.venv/renderer")"
export MUJOCO_GL
cd "$root"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # one test per processor, one thread per test
exec "$root/.venv/bin/python" -m pytest -n logical --dist worksteal "$@"
