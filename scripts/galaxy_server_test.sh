#!/usr/bin/env bash
# Runs the tests of the Galaxy tools on a real Galaxy server, which is installed from PyPI into an
# environment of its own, listens on this machine alone and is stopped at the end. Takes some
# minutes and about 1 GB; nothing outside the working folder is written.
#
#   bash scripts/galaxy_server_test.sh [FOLDER]      (default: galaxy_server_test)
#
#   COMMAND   the basisvae-scvi to test (default: that of .venv, else the one on PATH)
#   PYTHON    interpreter for Galaxy (default: python3.11, else python3)
#   UV        the uv to use (default: the one on PATH)
#   TOOLS     ids of the tools to test (default: all)
#   PORT      where the server listens (default: 18080)
#
# The results lie in FOLDER/results afterwards, the server's messages in FOLDER/galaxy.log.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
work="$(mkdir -p "${1:-galaxy_server_test}" && cd "${1:-galaxy_server_test}" && pwd)"
uv="${UV:-$(command -v uv)}"
python="${PYTHON:-$(command -v python3.11 || command -v python3)}"
command="${COMMAND:-$root/.venv/bin/basisvae-scvi}"
[ -x "$command" ] || command="$(command -v basisvae-scvi)"
port="${PORT:-18080}"
tools="${TOOLS:-basisvae_scvi_fit basisvae_scvi_project basisvae_scvi_assign basisvae_scvi_report}"
url="http://127.0.0.1:$port"
venv="$work/env"
key="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" # of this run only

if [ ! -e "$venv/.complete" ]; then
    echo "Installing Galaxy ..."
    "$uv" venv --quiet --clear --python "$python" "$venv"
    # bdbag is needed for histories and not declared.
    "$uv" pip install --quiet --python "$venv/bin/python" galaxy-web-apps bdbag
    touch "$venv/.complete"
fi

# A job sees our command and the system's own programs, and nothing of Galaxy's environment.
mkdir -p "$work/bin" "$work/config" "$work/data" "$work/jobs"
cat >"$work/bin/basisvae-scvi" <<SCRIPT
#!/bin/sh
exec '$command' "\$@"
SCRIPT
chmod +x "$work/bin/basisvae-scvi"

{
    echo '<toolbox tool_path="'"$root/wrappers/galaxy"'">'
    for tool in $tools; do echo "  <tool file=\"$tool.xml\"/>"; done
    echo '</toolbox>'
} >"$work/config/tools.xml"
echo '<dependency_resolvers/>' >"$work/config/resolvers.xml"
cat >"$work/config/jobs.yml" <<YAML
runners:
  local:
    load: galaxy.jobs.runners.local:LocalJobRunner
    workers: 1
execution:
  default: local
  environments:
    local:
      runner: local
      env:
        - execute: unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
        - name: PATH
          value: $work/bin:/usr/bin:/bin
        - name: NUMBA_CACHE_DIR
          value: $work/numba
        - name: OMP_NUM_THREADS
          value: "1"
YAML
cat >"$work/config/galaxy.yml" <<YAML
galaxy:
  data_dir: $work/data
  database_connection: sqlite:///$work/data/universe.sqlite?isolation_level=IMMEDIATE
  file_path: $work/data/objects
  new_file_path: $work/data/tmp
  job_working_directory: $work/jobs
  tool_config_file: $work/config/tools.xml
  job_config_file: $work/config/jobs.yml
  dependency_resolvers_config_file: $work/config/resolvers.xml
  conda_auto_init: false
  conda_auto_install: false
  bootstrap_admin_api_key: $key
  admin_users: test@bx.psu.edu
  enable_celery_tasks: false
  watch_tools: 'false'
  allow_path_paste: true
  cleanup_job: onsuccess
  log_level: INFO
YAML

export GALAXY_CONFIG_FILE="$work/config/galaxy.yml" VIRTUAL_ENV="$venv" GALAXY_VIRTUAL_ENV="$venv"
export PATH="$venv/bin:$PATH"
echo "Starting Galaxy at $url ..."
cd "$work"
"$venv/bin/python" -m uvicorn --factory galaxy.webapps.galaxy.fast_factory:factory \
    --host 127.0.0.1 --port "$port" >"$work/galaxy.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
for second in $(seq 1 900); do
    curl --silent --fail --max-time 2 "$url/api/version" >/dev/null && break
    kill -0 "$server" 2>/dev/null || break
    if [ "$second" -eq 900 ]; then echo "error: no answer from Galaxy in 900 s" >&2; fi
    sleep 1
done
curl --silent --fail --max-time 5 "$url/api/version" || {
    tail -n 30 "$work/galaxy.log" >&2
    exit 1
}
echo

# One call for each tool: of several --tool-id only the last counts.
status=0
mkdir -p "$work/results"
for tool in $tools; do
    galaxy-tool-test --galaxy-url "$url" --admin-key "$key" --tool-id "$tool" \
        --test-data "$root/wrappers/galaxy/test-data" --output "$work/out" \
        --output-json "$work/results/$tool.json" || status=$?
done
exit "$status"
