# Sourced by the scripts beside it: makes the virtual environment, or reuses it when nothing
# it depends on has changed.
#
#   BASISVAE_VENV   where the environment lives (default: .venv in the clone)
#   PYTHON          the interpreter to make it with (default: python3.11, else python3)
#
# Sets ROOT (the clone) and VENV (the environment); prepare_environment [EXTRA] does the work.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${BASISVAE_VENV:-$ROOT/.venv}"
case "$VENV" in /*) ;; *) VENV="$PWD/$VENV" ;; esac

TORCH_VERSION=2.13.0
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

python_version() { "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null; }

recent_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        recent_enough "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer."
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3.11 python3 python3.12 python3.13 python; do
        if recent_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer found. Install one, or name it: PYTHON=/path/to/python bash $0"
}

make_venv() {
    local python has wants
    has="$(python_version "$VENV/bin/python" || true)"
    if [ -n "$has" ] && [ -z "${PYTHON:-}" ]; then
        return
    fi
    python="$(find_python)" || exit 1
    wants="$(python_version "$python")"
    if [ -z "$has" ]; then
        say "Making $VENV with Python $wants ..."
        "$python" -m venv --clear "$VENV" || fail "could not make $VENV."
    elif [ "${has%.*}" != "${wants%.*}" ]; then
        fail "$VENV holds Python $has, but PYTHON=$PYTHON is $wants. Remove it, or set BASISVAE_VENV."
    fi
}

# Runs pip quietly; what it says is kept in a file, and its end is shown when it fails.
pip_install() {
    local log="$VENV/install.log"
    if ! "$VENV/bin/python" -m pip install --no-input "$@" >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        fail "pip install $* failed; the whole log is $log"
    fi
}

# uv needs a fraction of pip's time. Where it cannot be had or does not get through, pip does it.
quick_install() {
    local python="$VENV/bin/python"
    "$python" -m pip install --quiet --no-input "uv>=0.5" >/dev/null 2>&1 </dev/null &&
        "$VENV/bin/uv" pip install --python "$python" "$@" >"$VENV/install.log" 2>&1 </dev/null ||
        pip_install "$@"
}

install_torch() {
    # The CPU build where pip can find one, since it is much smaller; else the usual build.
    "$VENV/bin/python" -m pip install --quiet --no-input "torch==$TORCH_VERSION+cpu" \
        >/dev/null 2>&1 </dev/null || pip_install "torch==$TORCH_VERSION"
}

prepare_environment() {
    local extra="${1:-}" wanted linked name
    local requirements=(-e "$ROOT${extra:+[$extra]}")
    make_venv
    wanted="$(cat "$ROOT/pyproject.toml" "$ROOT/scripts/_environment.sh" | cksum)"
    linked="$ROOT $(cksum <"$ROOT/basisvae_scvi/_version.py")"

    if [ "$(cat "$VENV/.has-${extra:-package}" 2>/dev/null)" != "$wanted" ]; then
        say "Installing torch and basisvae-scvi${extra:+[$extra]} (some minutes the first time) ..."
        if "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
            requirements+=("scvi-tools==1.4.2") # the last release for Python 3.11
        fi
        install_torch
        quick_install "${requirements[@]}"
        case "$extra" in
            dev) set -- package test doc dev ;;
            "") set -- package ;;
            *) set -- package "$extra" ;;
        esac
        for name in "$@"; do printf '%s\n' "$wanted" >"$VENV/.has-$name"; done
    elif [ "$(cat "$VENV/.linked" 2>/dev/null)" != "$linked" ]; then
        say "Linking $ROOT into $VENV ..."
        pip_install --no-deps -e "$ROOT"
    fi
    printf '%s\n' "$linked" >"$VENV/.linked"
}
