#!/usr/bin/env bash
# All tests. Arguments go to pytest, for example: scripts/test.sh tests/test_config.py -k round_trip
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
MUJOCO_GL="$(cat "$root/.venv/renderer")"
export MUJOCO_GL
cd "$root"
exec "$root/.venv/bin/python" -m pytest "$@"
