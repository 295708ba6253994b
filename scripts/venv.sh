# To be sourced from the repository's root: make_venv EXTRAS leaves a .venv with the package in it.
# What was installed from this pyproject.toml is remembered, so a second call takes no time.

make_venv() {
    python=${PYTHON:-python3}
    if [ ! -x .venv/bin/python ]; then
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
            echo "error: stylecam needs Python 3.11 or newer, $("$python" --version 2>&1) was found" >&2
            echo "hint: install one and name it, like this: PYTHON=python3.12 $0" >&2
            exit 1
        }
        echo "making .venv" >&2
        "$python" -m venv .venv
    fi
    stamp=".venv/stylecam${1}-$(cksum <pyproject.toml | cut -d' ' -f1)"
    if [ ! -e "$stamp" ]; then
        echo "installing stylecam${1} and what it needs" >&2
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${1}"
        touch "$stamp"
    fi
}
