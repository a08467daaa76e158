# Sourced by contrib/debian/try and contrib/docker/try, after packages.sh: a small Debian of one's own, to try things in.

# The release that the tests run on.
chroot_suite=bookworm

# new_root FOLDER - lays a fresh Debian into a folder that does not exist yet. The first one is fetched, which takes a minute; the others are copies.
new_root() {
    local kept=$unpacked/debootstrap/$chroot_suite work
    if [ ! -d "$kept" ]; then
        need_packages debootstrap || return 1
        echo "fetching a Debian ($chroot_suite)"
        work=$(unpacking) || return 1
        # What the package depends on beside libc; the alternatives to systemd, which would be idle here.
        debootstrap --variant=minbase --include=systemd-standalone-sysusers,systemd-standalone-tmpfiles,ca-certificates \
            "$chroot_suite" "$work/tree" "$(debian_mirror)" >"$work/said" 2>&1 || { tail -n 20 "$work/said" >&2; return 1; }
        rm -rf "$work"/tree/var/cache/apt/archives/*.deb
        move_unpacked_root "$work" "$kept" || return 1
    fi
    cp -a "$kept" "$1"
}

# Where this machine's own packages come from.
debian_mirror() {
    local file
    for file in /etc/apt/sources.list.d/*.sources; do
        grep -qs debian-archive-keyring "$file" && sed -n 's/^URIs: *\([^ ]*\).*/\1/p' "$file" | head -n 1 && return
    done
    sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .* main.*/\2/p' /etc/apt/sources.list | head -n 1
}

# Rights stay as they are in it: those of a system.
move_unpacked_root() {
    mkdir -p "${2%/*}" && { mv -T "$1/tree" "$2" 2>/dev/null || [ -d "$2" ]; } && rm -rf "$1"
}

# alone SCRIPT ARGUMENT… - runs the script again as root in namespaces of its own, so that every process and every mount ends with it, and sets
# $folder there: a folder that is removed afterwards.
alone() {
    if [ -n "${MAILGATHER_ALONE:-}" ]; then
        folder=$MAILGATHER_ALONE
        return 0
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "a Debian of one's own needs root: run $1 as root on Debian 12" >&2
        exit 1
    fi
    folder=$(mktemp -d "${TMPDIR:-/var/tmp}/mailgather-try.XXXXXX")
    trap 'rm -rf --one-file-system "$folder"' EXIT
    local code=0
    MAILGATHER_ALONE=$folder unshare --mount --pid --fork --kill-child --mount-proc "$@" || code=$?
    exit $code
}

# with_system FOLDER - what a system has mounted.
with_system() {
    mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/run" && mount -t tmpfs tmpfs "$1/dev" && mkdir "$1/dev/shm" || return 1
    local device
    for device in null zero full random urandom tty; do
        : >"$1/dev/$device" && mount --bind "/dev/$device" "$1/dev/$device" || return 1
    done
    ln -s /proc/self/fd "$1/dev/fd" && ln -s fd/0 "$1/dev/stdin" && ln -s fd/1 "$1/dev/stdout" && ln -s fd/2 "$1/dev/stderr"
}
