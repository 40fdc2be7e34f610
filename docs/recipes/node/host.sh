#!/bin/sh
# Prepares a host, once, as root: Node, and the right to install and restart the unit.
set -eu
command -v node >/dev/null || apt-get install -y --no-install-recommends nodejs
umask 227
for command in daemon-reload 'link /srv/todo/current/deploy/todo.service' 'enable todo.service' \
    'disable --now todo.service' 'restart todo.service' 'stop todo.service' \
    'reset-failed todo.service'; do
    echo "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl $command"
done >/etc/sudoers.d/shipit-todo.new
visudo -cqf /etc/sudoers.d/shipit-todo.new
mv /etc/sudoers.d/shipit-todo.new /etc/sudoers.d/shipit-todo
