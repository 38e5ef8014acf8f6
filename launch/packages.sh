# The Debian packages vitrail needs, and how to install what is missing. Sourced by quickstart.sh and tests/run.sh.
# Ubuntu has the same names. Set VITRAIL_NO_INSTALL=1 to only be told.

vitrail_packages="gcc cmake ninja-build pkg-config openmpi-bin libopenmpi-dev libdnnl-dev libprotobuf-c-dev protobuf-c-compiler \
libjpeg-dev libpng-dev zlib1g-dev libyaml-dev libjansson-dev libxxhash-dev"

# install_missing PACKAGE...: apt-get install those that are not there; as root, or through sudo.
install_missing() {
    missing=""
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "${VITRAIL_NO_INSTALL:-0}" = 1 ] || ! command -v apt-get >/dev/null; then
        echo "missing packages (Debian names):$missing" >&2
        return 1
    fi
    echo "installing:$missing"
    as_root=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "not root and no sudo: apt-get install$missing" >&2; return 1; }
        as_root="sudo"
    fi
    # shellcheck disable=SC2086
    { $as_root apt-get -qq -o DPkg::Lock::Timeout=500 update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=500 \
            install $missing; } >/tmp/vitrail-apt.$$ 2>&1 || { tail -20 /tmp/vitrail-apt.$$ >&2; return 1; }
    rm -f /tmp/vitrail-apt.$$
}
