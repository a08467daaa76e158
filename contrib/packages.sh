# Sourced by tests/run, contrib/demo and contrib/bench/run: Debian packages that are installed when they are missing.

# need_packages NAME… - installs what is missing, without starting any service. Without root or apt it names what is missing and fails.
need_packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing packages (install them as root on Debian 12, then try again): ${missing[*]}" >&2
        return 1
    fi
    echo "installing: ${missing[*]}"
    # Debian starts a service as it installs it, unless this file says no (101). One that is there already is left alone.
    local policy=/usr/sbin/policy-rc.d ours=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && ours=yes
    fi
    local result=0
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -o DPkg::Lock::Timeout=300 update -qq &&
        apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } || result=1
    [ -z "$ours" ] || rm -f "$policy"
    [ $result -eq 0 ] || echo "apt-get could not install: ${missing[*]}" >&2
    return $result
}
