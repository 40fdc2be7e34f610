#!/usr/bin/env bash
# The sample service on real machines, end to end: deploy, deploy again, break it, roll back, and
# see it come back by itself after a reboot. Exits 0 when all of it went as it must.
#
# By itself it uses the machines of the Vagrantfile. With SMOKE_SSH_CONFIG (an ssh_config with the
# hosts app1, app2 and jump, and a key that root accepts) it uses those, as the tests do.
#
#   SHIPIT  the program to test; default: the one on the PATH
set -euo pipefail
cd "$(dirname "$0")"

shipit=${SHIPIT:-shipit}
[[ $shipit != */* ]] || shipit=$(cd "$OLDPWD" && realpath "$shipit")
readonly shipit work=$PWD/.work
readonly hosts=(app1 app2)

say() { printf '\n-- %s\n' "$*"; }

fail() {
    echo "smoke: $*" >&2
    exit 1
}

# Runs a command as root on a machine, without going through what is tested.
root() {
    local host=$1
    shift
    if [[ -n ${SMOKE_SSH_CONFIG:-} ]]; then
        ssh -F "$SMOKE_SSH_CONFIG" -l root "$host" "$@" </dev/null
    else
        vagrant ssh "$host" -c "sudo $*" </dev/null 2>/dev/null
    fi
}

# The ssh_config that deploy.toml names: both hosts behind the jump host.
write_ssh_config() {
    local key=$work/key name
    [[ -z ${SMOKE_SSH_CONFIG:-} ]] || key=$(ssh -G -F "$SMOKE_SSH_CONFIG" app1 | awk '$1 == "identityfile" { print $2; exit }')
    : >"$work/known_hosts"
    : >"$work/ssh_config"
    for name in jump "${hosts[@]}"; do
        echo "$name $(root "$name" cat /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f1-2)" >>"$work/known_hosts"
        printf 'Host %s\n  HostName %s\n  HostKeyAlias %s\n  User deploy\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n  GlobalKnownHostsFile /dev/null\n' \
            "$name" "$(address "$name")" "$name" "$key" "$work/known_hosts" >>"$work/ssh_config"
        [[ $name == jump ]] || printf '  ProxyJump jump\n' >>"$work/ssh_config"
    done
}

address() {
    if [[ -n ${SMOKE_SSH_CONFIG:-} ]]; then
        ssh -G -F "$SMOKE_SSH_CONFIG" "$1" | awk '$1 == "hostname" { print $2 }'
    else
        case $1 in jump) echo 192.168.56.10 ;; app1) echo 192.168.56.11 ;; app2) echo 192.168.56.12 ;; esac
    fi
}

# `vagrant up` provisions its machines; others are provisioned here, by the same script.
provision() {
    local host
    if [[ -z ${SMOKE_SSH_CONFIG:-} ]]; then
        vagrant up
        return
    fi
    for host in jump "${hosts[@]}"; do
        ssh -F "$SMOKE_SSH_CONFIG" -l root "$host" "sh -s -- --key '$(<"$(ssh -G -F "$SMOKE_SSH_CONFIG" app1 | awk '$1 == "identityfile" { print $2; exit }').pub")' --scope $([[ $host == jump ]] && echo none || echo system)" <provision.sh
    done
}

# A tarball of the service at one version; the further words are files that change how it behaves.
artifact() {
    local version=$1 tree=$work/tree
    shift
    rm -rf "$tree"
    cp -a service "$tree"
    echo "$version" >"$tree/VERSION"
    (cd "$tree" && touch VERSION "$@")
    tar -czf "$work/$version.tar.gz" -C "$tree" .
    echo "$work/$version.tar.gz"
}

# Deploys; the status is the program's.
deploy() {
    GREETING=$1 "$shipit" -c deploy.toml deploy vagrant --yes --artifact "$2"
}

# Every host answers with this version and greeting, asked from the host itself.
expect() {
    local host answer tries
    for host in "${hosts[@]}"; do
        for tries in $(seq 1 100); do
            answer=$(root "$host" python3 -c "'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:8080/\").read().decode().strip())'" 2>/dev/null) || answer=
            answer=${answer%$'\r'}
            [[ $answer != "version=$1 greeting=$2" ]] || continue 2
            sleep 0.2
        done
        fail "$host answers \`$answer\` instead of version $1 with greeting $2, after $tries tries"
    done
    echo "every host answers version $1, greeting $2"
}

reboot() {
    local host=$1 before tries
    before=$(root "$host" systemctl show --value -p UserspaceTimestampMonotonic)
    root "$host" systemctl reboot || true
    for tries in $(seq 1 150); do
        sleep 0.2
        [[ $(root "$host" systemctl show --value -p UserspaceTimestampMonotonic || echo "$before") == "$before" ]] || return 0
    done
    fail "$host did not come back after $tries tries"
}

(umask 077 && mkdir -p "$work")
say "provision"
provision
write_ssh_config

say "check"
GREETING=hello "$shipit" -c deploy.toml check vagrant

say "deploy the first version"
deploy hello "$(artifact v1)"
expect v1 hello

say "deploy the second, with other config"
deploy goodbye "$(artifact v2)"
expect v2 goodbye

say "deploy a broken one: it is taken back"
status=0
deploy broken "$(artifact v3 UNHEALTHY)" || status=$?
[[ $status == 1 ]] || fail "a broken version ended with exit code $status instead of 1"
expect v2 goodbye

say "roll back: the first version with its own config"
"$shipit" -c deploy.toml rollback vagrant --yes
expect v1 hello

say "reboot app2: the live release comes back by itself"
reboot app2
expect v1 hello

say "what is there"
"$shipit" -c deploy.toml releases vagrant
"$shipit" -c deploy.toml status vagrant

echo
echo "smoke: all is well"
