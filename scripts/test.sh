#!/usr/bin/env bash
# All tests: those that measure times one after the other, the rest as many at a time as there are processors.
# Arguments go to pytest, for example: scripts/test.sh tests/test_config.py -k round_trip
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
none_collected=5 # exit code of pytest

bash "$root/scripts/setup.sh"
MUJOCO_GL="$(cat "$root/.venv/renderer")"
export MUJOCO_GL
cd "$root"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # one test per processor, one thread per test

if [[ " $* " == *" -m "* ]]; then # a choice of your own
    exec "$root/.venv/bin/python" -m pytest "$@"
fi
status=0
"$root/.venv/bin/python" -m pytest -n logical --dist worksteal -m "not timing" "$@" || status=$?
[ "$status" -eq 0 ] || [ "$status" -eq "$none_collected" ] || exit "$status"
timed=0
"$root/.venv/bin/python" -m pytest -m timing "$@" || timed=$?
[ "$timed" -eq "$none_collected" ] || exit "$timed"
exit "$status"
