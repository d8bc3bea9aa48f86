# Every command of the project; `just` lists them. Each one does its own set-up and says what it does.

set shell := ["bash", "-euo", "pipefail", "-c"]

export UV_PYTHON_DOWNLOADS := "never"
# Python keeps what it compiled, where an image says otherwise too: our commands and tests start many programs
export PYTHONDONTWRITEBYTECODE := ""
export VIRTUAL_ENV := justfile_directory() / ".venv"

bin := justfile_directory() / ".venv/bin"

# List the commands
default:
    @just --list --unsorted

# The main job on real market history: notebooks, sweep, gates, bundle, replayed years, desk. Try `just demo --no-serve`
demo *args: (_venv "research")
    @{{ bin }}/sluice demo {{ args }}

# Every test: unit, contract (SQLite and PostgreSQL), faults, JupyterHub, headless Chromium. Arguments go to pytest
test *args: (_venv "dev") _browser _proxy (_apart "s3" "the S3 server of the tests") (_apart "helm" "Helm's engine, which renders the chart in the tests")
    {{ bin }}/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder {{ args }}

# kill -9 of a trading process, 200 times at random under load and at every named point of the order path
faults kills="200": (_venv "dev")
    SLUICE_KILLS={{ kills }} {{ bin }}/python -m pytest tests/faults -s --timeout 1800

# Format, lint, strict types, floors: what must hold before a commit
check: (_venv "dev")
    {{ bin }}/ruff format --check .
    {{ bin }}/ruff check .
    {{ bin }}/mypy
    {{ bin }}/lint-imports --no-logo

# Promises of speed, each beside its peer in the same run; writes benchmarks/results.json
bench *args: (_venv "dev") (_apart "feast" "Feast, a peer of the benches")
    {{ bin }}/python -m benchmarks.run {{ args }}

# The live service and its desk over a workspace (default: the demo's)
serve *args: (_venv "research")
    @{{ bin }}/sluice serve {{ args }}

# JupyterHub on this host; trials land in the same ledger
hub *args: (_venv "dev") _proxy
    @{{ bin }}/python hub/start.py {{ args }}

# Any other command of the platform, e.g. `just sluice studies`
sluice *args: (_venv "research")
    @{{ bin }}/sluice {{ args }}

# Format the code
format: (_venv "dev")
    {{ bin }}/ruff format .
    {{ bin }}/ruff check --fix .

# Resolve the dependencies anew and write the hashed requirement files
lock:
    uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --custom-compile-command "just lock" pyproject.toml -o requirements/runtime.txt
    uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --custom-compile-command "just lock" pyproject.toml --extra research -c requirements/runtime.txt -o requirements/research.txt
    uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --custom-compile-command "just lock" pyproject.toml --extra research --extra hub --extra dev -c requirements/research.txt -o requirements/dev.txt
    printf 'hatchling\neditables\n' | uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --custom-compile-command "just lock" - -o requirements/build.txt
    printf 'feast[duckdb,redis]\n' | uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --custom-compile-command "just lock" - -o requirements/feast.txt
    printf 'moto[server]\n' | uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --custom-compile-command "just lock" - -o requirements/s3.txt
    printf 'helm-python-sdk\nkubernetes-validate\n' | uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --custom-compile-command "just lock" - -o requirements/helm.txt

# Remove the virtual environment, caches and local workspaces
clean:
    rm -rf .venv .venv-s3 .venv-helm .venv-feast .sluice .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis hub/node_modules

# Create .venv and install one locked requirement file; nothing happens when it is already there
_venv level:
    #!/usr/bin/env bash
    set -euo pipefail
    fingerprint() { cat "requirements/$1.txt" requirements/build.txt pyproject.toml | sha256sum | cut -c1-16; }
    installed() { [ "$(cat ".venv/.installed-$1" 2>/dev/null || true)" = "$(fingerprint "$1")" ]; }
    if installed {{ level }} || installed dev; then exit 0; fi
    command -v uv >/dev/null || { echo "uv is missing: pip install rust-just uv" >&2; exit 1; }
    [ -x .venv/bin/python ] || { echo "Creating .venv (Python 3.11 or newer)"; uv venv -q --python '>=3.11' .venv; }
    echo "Installing the locked {{ level }} dependencies from requirements/{{ level }}.txt (hashes checked)"
    uv pip install -q --compile-bytecode --require-hashes -r requirements/{{ level }}.txt -r requirements/build.txt
    uv pip install -q --no-deps --no-build-isolation -e .
    fingerprint {{ level }} > .venv/.installed-{{ level }}

# Chromium for the tests of the desk
_browser:
    @scripts/system-package chromium chromium

# The node proxy of JupyterHub, from its lock file
_proxy:
    @scripts/system-package npm npm nodejs
    @[ -x hub/node_modules/.bin/configurable-http-proxy ] || { echo "Installing the hub's node proxy from hub/package-lock.json"; cd hub && npm ci --silent --no-audit --no-fund; }

# A peer or server that cannot share our dependencies, in an environment of its own: .venv-NAME from requirements/NAME.txt
_apart name what:
    #!/usr/bin/env bash
    set -euo pipefail
    fingerprint="$(sha256sum < requirements/{{ name }}.txt | cut -c1-16)"
    if [ "$(cat .venv-{{ name }}/.installed 2>/dev/null || true)" = "$fingerprint" ]; then exit 0; fi
    echo "Installing {{ what }} from requirements/{{ name }}.txt (hashes checked)"
    uv venv -q --clear --python '>=3.11' .venv-{{ name }}
    uv pip install -q --python .venv-{{ name }}/bin/python --require-hashes -r requirements/{{ name }}.txt
    echo "$fingerprint" > .venv-{{ name }}/.installed
