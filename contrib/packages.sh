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

# Where packages are unpacked that are not installed. It lies outside of the checkout, so that servers which give up root's rights can reach it
# whatever the checkout's own rights are, and so that it is filled once for all checkouts.
unpacked=/var/cache/mailgather-tests

# unpack_packages NAME… - unpacks Debian packages into $unpacked/debian/NAME without installing them: Exim conflicts with Postfix, and of others
# only the data is wanted. No file keeps the right to act as another user.
unpack_packages() {
    local name work
    for name in "$@"; do
        [ ! -d "$unpacked/debian/$name" ] || continue
        echo "unpacking: $name"
        work=$(unpacking) || return 1
        ( cd "$work" && { apt_get download -qq "$name" || { apt_get update -qq && apt_get download -qq "$name"; }; } >/dev/null &&
            dpkg-deb -x "$name"_*.deb tree && chmod -R u-s,g-s tree ) && move_unpacked "$work" "debian/$name" || return 1
    done
}

# unpack_sources NAME… - unpacks the upstream part of Debian source packages into $unpacked/source/NAME.
unpack_sources() {
    local name work file
    for name in "$@"; do
        [ ! -d "$unpacked/source/$name" ] || continue
        echo "unpacking: source of $name"
        work=$(unpacking) || return 1
        # The machine's own package sources, asked for sources in place of binaries, with lists of their own: nothing of the system changes.
        mkdir -p "$work/parts" "$work/lists/partial" "$work/tree"
        for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
            grep -qs debian-archive-keyring "$file" || [ "$file" = /etc/apt/sources.list ] || continue
            [ -e "$file" ] && sed 's/^Types: deb$/Types: deb-src/; s/^deb /deb-src /' "$file" >"$work/parts/${file##*/}"
        done
        ( cd "$work" || exit 1
            own=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/parts" -o "Dir::State::lists=$work/lists")
            apt_get "${own[@]}" update -qq && apt_get "${own[@]}" source -qq --download-only "$name" >/dev/null &&
                tar -xf "$name"_*.orig.tar.* --strip-components=1 -C tree ) && move_unpacked "$work" "source/$name" || return 1
    done
}

# unpack_crate NAME VERSION - unpacks a crate into $unpacked/crates/NAME; it is never built, only read.
unpack_crate() {
    local work
    [ ! -d "$unpacked/crates/$1" ] || return 0
    echo "unpacking: crate $1 $2"
    work=$(unpacking) || return 1
    mkdir -p "$work/src"
    : >"$work/src/lib.rs"
    printf '[package]\nname = "unpack"\nversion = "0.0.0"\n[workspace]\n[dependencies]\n%s = { version = "=%s", default-features = false }\n' "$1" "$2" >"$work/Cargo.toml"
    ( cd "$work" && cargo vendor --quiet vendor >/dev/null && mv "vendor/$1" tree ) && move_unpacked "$work" "crates/$1"
}

# python_packages LIST - puts the packages of PyPI that a file names with their versions into an environment of its own below $unpacked/python; its name
# comes from the file's content. Nothing is compiled, and nothing of the system's Python changes.
python_packages() {
    local name work
    name=$(sha256sum <"$1") && name=${name:0:12} || return 1
    [ ! -d "$unpacked/python/$name" ] || return 0
    need_packages python3-venv ca-certificates || return 1
    echo "unpacking: Python's packages of $1"
    work=$(unpacking) || return 1
    # Without -I the caller's own Python would be mixed in. An environment may be moved, but for its scripts: tests use bin/python alone.
    /usr/bin/python3 -I -m venv "$work/tree" &&
        "$work/tree/bin/python" -I -m pip --quiet --disable-pip-version-check install --no-compile --only-binary :all: --no-deps -r "$1" &&
        "$work/tree/bin/python" -I -m pip --quiet --disable-pip-version-check check >&2 &&
        move_unpacked "$work" "python/$name"
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o APT::Sandbox::User=root "$@"
}

# Prints a new folder to work in.
unpacking() {
    mkdir -p "$unpacked" && mktemp -d "$unpacked/.new-XXXXXX" || {
        echo "packages are unpacked into $unpacked, which root must be able to write: run this as root on Debian 12" >&2
        return 1
    }
}

# move_unpacked WORK TO - moves the finished tree to its place at one stroke: several checkouts may do this at once, and the first one wins.
move_unpacked() {
    mkdir -p "$unpacked/${2%/*}" && chmod -R a+rX "$1/tree" && chmod 755 "$unpacked" "$unpacked/${2%/*}" || return 1
    mv -T "$1/tree" "$unpacked/$2" 2>/dev/null || [ -d "$unpacked/$2" ] || return 1
    rm -rf "$1"
}
