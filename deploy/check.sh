#!/bin/sh
# Every check of these files that this machine has a program for: sh deploy/check.sh. The same ones run in make test
# (tests/test_deploy.py); a program that is missing is named, and ends this with code 3 after the others have run.
set -eu
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
missing=
here() {
    command -v "$1" > /dev/null && return
    missing="$missing $1"
    return 1
}
check() {
    echo "check: $*"
    "$@"
}

here hadolint && check hadolint deploy/Dockerfile
here yamllint && check yamllint --strict --config-file deploy/.yamllint.yaml deploy
here kubernetes-validate && check kubernetes-validate --strict --quiet deploy/kubernetes/[!k]*.yaml
here kubectl && check kubectl kustomize deploy/kubernetes --output /dev/null
if here systemd-analyze; then
    echo "check: systemd-analyze security deploy/systemd/antiphon.service"
    found=$(systemd-analyze security --offline=true --threshold=15 --no-pager deploy/systemd/antiphon.service)
    printf '%s\n' "$found" | tail -n 1
fi
if here docker && docker compose version > /dev/null 2>&1; then
    check docker compose --file deploy/compose.yaml config --quiet
else
    missing="$missing docker-compose"
fi
check python -m pytest --quiet tests/test_deploy.py
if [ -n "$missing" ]; then
    echo "not checked, for want of:$missing" >&2
    exit 3
fi
