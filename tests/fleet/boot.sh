#!/usr/bin/env bash
# Boots a fleet of systemd hosts with real sshds, each with its own address, and takes it down.
#
#   boot.sh up DIR    six application hosts and a jump host; DIR/env says how to reach them
#   boot.sh down DIR  nothing of them is left
#
# Fleets are numbered from 0, each with a bridge and a network of its own, so that several can be
# up and one that a crash left behind is in nobody's way.
#
# A host is systemd-nspawn over an overlay of one Debian tree, in a network namespace whose cable
# ends in a bridge. The tree is made by debootstrap from the mirror that apt uses here, and kept in
# $SHIPIT_FLEET_CACHE (/var/tmp/shipit-fleet) under a name that says what is in it.
set -euo pipefail

readonly hosts=(app1 app2 app3 app4 app5 app6 jump)
readonly packages=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,python3,python3-dotenv,zstd,curl
# The servers of recipes, which run only where a scenario starts them.
readonly servers=nginx,haproxy,socat,gunicorn,php8.2-fpm,nodejs,caddy,python3-pip,puma,podman,crun,netavark,catatonit
readonly suite=bookworm
readonly most=50
# In seconds. A host needs five, and more where a compiler runs beside it.
readonly most_to_boot=120
readonly nets=${SHIPIT_FLEET_NETS:-10.89}
readonly cache=${SHIPIT_FLEET_CACHE:-/var/tmp/shipit-fleet}

die() {
    echo "fleet: $*" >&2
    exit 1
}

# The first Debian mirror of apt's sources, in either format; the packages on it are verified by
# debootstrap with the archive's keyring.
mirror() {
    local found
    found=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
        awk '$1 == "deb" || $1 == "URIs:" { for (i = 2; i <= NF; i++) if ($i ~ /^https?:\/\/.*\/debian\/?$/) { print $i; exit } }')
    echo "${SHIPIT_FLEET_MIRROR:-${found:-http://deb.debian.org/debian}}"
}

apt_proxy() {
    local value
    eval "$(apt-config shell value Acquire::http::Proxy)"
    [[ -z ${value:-} || ${value} == DIRECT ]] || echo "$value"
}

# Makes the tree that all hosts share, unless it is there.
base() {
    local stamp tree draft proxy
    stamp=$(echo "$suite $packages $servers 3" | sha256sum | cut -c1-12)
    tree=$cache/$stamp
    [[ -d $tree ]] && { echo "$tree"; return; }
    mkdir -p "$cache"
    draft=$(mktemp -d "$cache/.draft.XXXXXX")
    chmod 755 "$draft"
    proxy=$(apt_proxy)
    [[ -z $proxy ]] || export http_proxy=${http_proxy:-$proxy}
    if ! debootstrap --variant=minbase --include="$packages,$servers" "$suite" "$draft" "$(mirror)" >"$cache/debootstrap.log" 2>&1; then
        tail -n 20 "$cache/debootstrap.log" >&2
        rm -rf --one-file-system "$draft"
        die "debootstrap from $(mirror) did not work"
    fi
    rm -rf "$draft"/var/cache/apt/archives/*.deb "$draft"/etc/ssh/ssh_host_* "$draft/etc/machine-id"
    : >"$draft/etc/machine-id"
    chroot "$draft" systemctl --quiet disable nginx haproxy php8.2-fpm caddy phpsessionclean.timer \
        podman.socket podman podman-restart podman-auto-update.timer podman-auto-update
    without_generators "$draft/etc/systemd/system-generators"
    nested_containers "$draft/etc/containers"
    printf 'LogLevel VERBOSE\nUseDNS no\n' >"$draft/etc/ssh/sshd_config.d/fleet.conf"
    mv -T "$draft" "$tree"
    echo "$tree"
}

# Turns off what looks for disks and old scripts at each `systemctl daemon-reload`: a host has none,
# and they take nearly as much of a processor as systemd itself. $1 the directory that turns them
# off.
without_generators() {
    local name
    mkdir -p "$1"
    for name in cryptsetup fstab gpt-auto hibernate-resume integritysetup rc-local system-update sysv veritysetup; do
        ln -s /dev/null "$1/systemd-$name-generator"
    done
}

# Lets podman start containers within a host, which may not raise limits, stack overlays, make
# keyrings or delegate cgroups. $1 the directory of its configuration.
nested_containers() {
    mkdir -p "$1"
    cat >"$1/storage.conf" <<'EOF'
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
EOF
    cat >"$1/containers.conf" <<'EOF'
[containers]
cgroups = "disabled"
keyring = false
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
EOF
}

# Takes the first number whose bridge nobody has; making it is what takes it.
claim() {
    local number refusal
    for number in $(seq 0 $((most - 1))); do
        if refusal=$(ip link add "shipit$number" type bridge 2>&1); then
            echo "$number"
            return
        fi
        [[ $refusal == *"File exists"* ]] || die "bridges do not work here: $refusal"
    done
    die "$most fleets are there already; \`ip link del shipitN\` frees a number"
}

# A namespace with one cable, `cN-NAME` on our side.
plug() {
    local fleet=$1 name=$2 address=$3 space=shipit$1-$2
    ip netns del "$space" 2>/dev/null || true
    ip netns add "$space"
    ip link add "c$fleet-$name" type veth peer name host0 netns "$space"
    ip link set "c$fleet-$name" master "shipit$fleet" up
    ip -n "$space" addr add "$address/24" dev host0
    ip -n "$space" link set lo up
    ip -n "$space" link set host0 up
    # Of docs/zero-downtime.md; a host may not write it, and kernels before 5.14 lack it.
    ip netns exec "$space" sh -c 'echo 1 >/proc/sys/net/ipv4/tcp_migrate_req' 2>/dev/null || true
}

# A writable copy of the tree that costs nothing, or a real copy where overlays do not work.
root_of() {
    local dir=$1 tree=$2
    mkdir -p "$dir"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=$tree,upperdir=$dir/upper,workdir=$dir/work" "$dir/root" 2>/dev/null ||
        cp -a --reflink=auto "$tree/." "$dir/root/"
}

# Moves this shell, from which a host is started, to a cgroup of its own. Without systemd no host
# gets a scope; two hosts in one cgroup would take each other's services for their own.
own_cgroup() {
    mkdir -p "$(cgroups)/$1"
    echo "$BASHPID" >"$(cgroups)/$1/cgroup.procs"
}

cgroups() {
    awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts
}

# Runs one host until it is switched off; status 133 says that it wants to be booted again.
run_host() {
    local machine=$1 dir=$2 status flags=(--register=no)
    if [[ ! -d /run/systemd/system ]]; then
        own_cgroup "$machine"
        flags+=(--keep-unit)
    fi
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    while status=0; do
        systemd-nspawn --quiet --boot "${flags[@]}" --directory="$dir/root" --machine="$machine" \
            --network-namespace-path="/run/netns/$machine" --console=pipe \
            </dev/null >>"$dir/console.log" 2>&1 & echo $! >"$dir/nspawn.pid"
        wait $! || status=$?
        [[ $status == 133 && ! -e $dir/stop ]] || return 0
    done
}

wait_for_ssh() {
    local dir=$1 name=$2 start=$SECONDS
    while ((SECONDS < start + most_to_boot)); do
        ssh -F "$dir/ssh_config" -l root "$name" systemctl is-system-running --wait >/dev/null 2>&1 && return
        sleep 0.2
    done
    ssh -F "$dir/ssh_config" -l root "$name" systemctl --failed >&2 || tail -n 20 "$dir/$name/console.log" >&2
    die "$name did not come up in $most_to_boot s"
}

one_up() {
    local dir=$1 tree=$2 fleet=$3 name=$4 address=$5
    root_of "$dir/$name" "$tree"
    install -d -m 700 "$dir/$name/root/root/.ssh"
    install -m 600 "$dir/key.pub" "$dir/$name/root/root/.ssh/authorized_keys"
    ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$dir/$name/root/etc/ssh/ssh_host_ed25519_key"
    echo "$address $(cut -d' ' -f1-2 "$dir/$name/root/etc/ssh/ssh_host_ed25519_key.pub")" >>"$dir/known_hosts"
    echo "$name" >"$dir/$name/root/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >"$dir/$name/root/etc/hosts"
    plug "$fleet" "$name" "$address"
    ssh_config "$dir" "$name" "$address" >>"$dir/ssh_config"
    (run_host "shipit$fleet-$name" "$dir/$name") </dev/null >/dev/null 2>&1 &
}

ssh_config() {
    local dir=$1 name=$2 address=$3
    printf 'Host %s\n  HostName %s\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  ConnectTimeout 5\n' \
        "$name" "$address" "$dir/key" "$dir/known_hosts"
}

up() {
    local dir=$1 tree fleet net name last=10
    [[ $(id -u) == 0 ]] || die "booting hosts needs root"
    mkdir -p "$dir"
    tree=$(base)
    ssh-keygen -q -t ed25519 -N '' -C fleet -f "$dir/key"
    : >"$dir/known_hosts"
    : >"$dir/ssh_config"
    fleet=$(claim)
    echo "$fleet" >"$dir/number"
    net=$nets.$((77 + fleet))
    ip addr add "$net.1/24" dev "shipit$fleet"
    ip link set "shipit$fleet" up
    for name in "${hosts[@]}"; do
        last=$((last + 1))
        one_up "$dir" "$tree" "$fleet" "$name" "$net.$last"
    done
    for name in "${hosts[@]}"; do wait_for_ssh "$dir" "$name"; done
    printf 'export SHIPIT_FLEET_DIR=%q\nexport SHIPIT_FLEET_NET=%q\nexport SHIPIT_FLEET_NUMBER=%q\n' \
        "$dir" "$net" "$fleet" >"$dir/env"
    [[ -z ${SUDO_UID:-} ]] || chown -R "$SUDO_UID" "$dir"/{key,key.pub,known_hosts,ssh_config,env}
}

# Ends the hosts, then removes what they left; also of a fleet that came up only in part.
down() {
    local dir=$1 fleet name
    fleet=$(cat "$dir/number" 2>/dev/null) || fleet=none
    for name in "${hosts[@]}"; do
        [[ -d $dir/$name ]] || continue
        touch "$dir/$name/stop"
        [[ ! -s $dir/$name/nspawn.pid ]] || kill -KILL "$(<"$dir/$name/nspawn.pid")" 2>/dev/null || true
    done
    for name in "${hosts[@]}"; do
        ip netns pids "shipit$fleet-$name" 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
        ip netns del "shipit$fleet-$name" 2>/dev/null || true
        ip link del "c$fleet-$name" 2>/dev/null || true
        find "$(cgroups)/shipit$fleet-$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
        unmount "$dir/$name/root"
    done
    ip link del "shipit$fleet" 2>/dev/null || true
    # A host whose tree could not be unmounted is left where it is rather than emptied.
    rm -rf --one-file-system "$dir"
}

unmount() {
    local tries
    for tries in $(seq 1 50); do
        mountpoint -q "$1" 2>/dev/null || return 0
        umount "$1" 2>/dev/null && return 0
        sleep 0.1
    done
    echo "fleet: $1 is still in use after $((tries / 10)) s" >&2
    umount --lazy "$1" || true
}

[[ $# == 2 && $1 =~ ^(up|down)$ ]] || die "usage: boot.sh up|down DIR"
"$1" "$2"
