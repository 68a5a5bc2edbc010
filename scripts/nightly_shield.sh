#!/usr/bin/env bash
# Ask every promise of the shields 20 000 times (or $1 times), with other examples every time.
# What was asked of the same code before is not asked again: a run that was cut off goes on where it was.
set -euo pipefail

examples="${1:-20000}"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
python="${PYTHON:-$root/.venv/bin/python}"
code="$(cat robovlms/robot/action.py robovlms/robot/safety/*.py tests/robot/safety/*.py | sha256sum | cut -c1-16)"
done_file="build/nightly_shield/$code-$examples.done"
mkdir -p "$(dirname "$done_file")"
touch "$done_file"

mapfile -t tests < <("$python" -m pytest --collect-only -q tests/robot/safety/test_invariants.py -k promise | grep '::')
number=0
for test in "${tests[@]}"; do
    number=$((number + 1))
    if grep -qxF "$test" "$done_file"; then
        echo "[$number/${#tests[@]}] $test: done before"
        continue
    fi
    echo "[$number/${#tests[@]}] $test"
    ROBOVLMS_SHIELD_EXAMPLES="$examples" "$python" -m pytest -q "$test"
    echo "$test" >>"$done_file"
done
echo "every promise was kept $examples times"
