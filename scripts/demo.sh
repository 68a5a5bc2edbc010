#!/usr/bin/env bash
# The whole way in one command: demonstrations, training, evaluation, report. Flags as in `robovlms demo --help`.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
MUJOCO_GL="$(cat "$root/.venv/renderer")"
export MUJOCO_GL
exec "$root/.venv/bin/robovlms" demo "$@"
