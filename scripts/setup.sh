#!/usr/bin/env bash
# Makes .venv ready for the demo and the tests. A second run with nothing changed does nothing.
#
# PYTHON=…     interpreter to make .venv with, 3.10 to 3.13; default: the first fitting one on the PATH.
# MUJOCO_GL=…  renderer to use, egl or osmesa; default: the first that can draw a frame.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
installed="$venv/installed"      # checksum of what was installed
renderer="$venv/renderer"        # the value of MUJOCO_GL that draws
gl_packages="libegl1 libopengl0 libgl1-mesa-dri libgl1 libglu1-mesa" # EGL, OpenGL for MuJoCo, rasteriser, for MiniWorld

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}

# Run a step quietly: name it, time it, keep its output in a log and show the log's end if it fails.
step() {
    local name="$1" log="$2" start=$SECONDS
    shift 2
    say "$name …"
    if ! "$@" >"$log" 2>&1; then
        grep -v "^WARNING: Location .* is ignored" "$log" | tail -n 30 >&2 || true
        fail "$name failed; the full log is $log"
    fi
    say "$name: $((SECONDS - start)) s"
}

find_python() {
    local candidates=(python3 python3.13 python3.12 python3.11 python3.10 python) candidate
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "expected Python 3.10 to 3.13, found none among: ${candidates[*]}; install one or name it: PYTHON=/path/to/python3 $0"
}

make_venv() {
    local python
    python="$(find_python)"
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        fail "$python has no venv module; on Debian or Ubuntu: apt-get install -y python3-venv"
    fi
    rm -rf "$venv"
    mkdir -p "$venv"
    step "making .venv with $("$python" -V)" "$venv/venv.log" "$python" -m venv "$venv"
}

install_packages() {
    # The constraints hold for the isolated build of this package too; pip has one variable for each.
    cd "$root"
    PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
        "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --quiet --editable ".[demo,dev]"
}

can_render() {
    MUJOCO_GL="$1" "$venv/bin/python" - 2>"$venv/render.log" <<'PY'
import ctypes

import mujoco

for library in ("libGL.so.1", "libGLU.so.1"):  # MiniWorld's
    ctypes.CDLL(library)
red_ball = '<mujoco><worldbody><light pos="0 0 3"/><geom size=".3" rgba="1 0 0 1"/></worldbody></mujoco>'
model = mujoco.MjModel.from_xml_string(red_ball)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    frame = renderer.render()
assert frame[..., 0].max() > frame[..., 1].max(), "the frame shows no red ball"
PY
}

find_renderer() {
    local candidate
    for candidate in ${MUJOCO_GL:-egl osmesa}; do
        if can_render "$candidate"; then
            echo "$candidate" >"$renderer"
            return
        fi
    done
    return 1
}

install_gl() {
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
    local get=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120)
    # A third-party source that cannot be reached must not stop us: what counts is whether the install works.
    "${get[@]}" update || true
    # shellcheck disable=SC2086
    "${get[@]}" install -y --no-install-recommends $gl_packages
}

may_install_gl() {
    command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }
}

prepare_renderer() {
    if ! find_renderer; then
        if ! may_install_gl; then
            fail "the simulators cannot draw a frame with MUJOCO_GL=${MUJOCO_GL:-egl or osmesa}; install a software renderer and run this again:
    sudo apt-get update && sudo apt-get install -y --no-install-recommends $gl_packages"
        fi
        step "installing $gl_packages, because the simulators cannot draw" "$venv/apt.log" install_gl
        find_renderer || fail "MuJoCo cannot draw with MUJOCO_GL=${MUJOCO_GL:-egl or osmesa}: $(tail -n 1 "$venv/render.log")"
    fi
    say "MuJoCo draws with MUJOCO_GL=$(cat "$renderer")"
}

wanted="$(cat "$root/pyproject.toml" "$root/constraints.txt" <(echo "$root") | cksum)"
if [ "$(cat "$installed" 2>/dev/null)" != "$wanted" ] || [ ! -x "$venv/bin/robovlms" ]; then
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
    rm -f "$installed" "$renderer"
    step "installing packages (1 to 5 minutes)" "$venv/pip.log" install_packages
    echo "$wanted" >"$installed"
fi
if [ ! -s "$renderer" ] || [ "${MUJOCO_GL:-$(cat "$renderer")}" != "$(cat "$renderer")" ]; then
    prepare_renderer
fi
