#!/bin/sh
# Prepares a host, once, as root: podman, the unit, and the rights to restart it and to load images.
set -eu
cd "$(dirname "$0")"
command -v podman >/dev/null || apt-get install -y podman
install -m 644 todo.service /etc/systemd/system/todo.service
systemctl daemon-reload
systemctl enable todo.service
umask 227
{
    for verb in restart stop reset-failed; do
        echo "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl $verb todo.service"
    done
    # The right to load images that root runs is as good as being root.
    echo "deploy ALL=(root) NOPASSWD: /usr/bin/podman"
} >/etc/sudoers.d/shipit-todo.new
visudo -cqf /etc/sudoers.d/shipit-todo.new
mv /etc/sudoers.d/shipit-todo.new /etc/sudoers.d/shipit-todo
