#!/bin/sh
# One host, in the namespaces that it is started in: Debian's sshd with Debian's configuration, root
# with a key, and a /srv, /root, /run and /tmp of its own.
# $1 directory of the host, $2 its address, $3 directory of keys, $4 more sshd options in one file.
set -eu
dir=$1 address=$2 keys=$3 extra=$4

mount --make-rprivate /
mount --bind "$dir/srv" /srv
mount -t tmpfs etc /etc/ssh
cp /usr/share/openssh/sshd_config /etc/ssh/
[ -z "$extra" ] || { mkdir /etc/ssh/sshd_config.d && cp "$extra" /etc/ssh/sshd_config.d/; }
install -m 600 "$keys/host" /etc/ssh/ssh_host_ed25519_key
cp "$keys/host.pub" /etc/ssh/ssh_host_ed25519_key.pub
mount -t tmpfs -o mode=700 root /root
mkdir -m 700 /root/.ssh
install -m 600 "$keys/client.pub" /root/.ssh/authorized_keys
# Without /run there is no systemd to be told of sessions: they stay in the group they are counted in.
mount -t tmpfs run /run
mkdir /run/sshd
mount -t tmpfs tmp /tmp

ip link set lo up
until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
ip addr add "$address/16" dev eth0
ip link set eth0 up
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /usr/sbin/sshd -D -E "$dir/log"
