#!/bin/sh
# Prepares a host, once, as root: Ruby, the key that the app reads, the unit, and the right to
# restart it.
set -eu
cd "$(dirname "$0")"
command -v puma >/dev/null || apt-get install -y --no-install-recommends puma
install -d -o deploy -g deploy /srv/todo/shared /srv/todo/shared/config
install -m 600 -o deploy -g deploy master.key /srv/todo/shared/config/master.key
install -m 644 todo.service /etc/systemd/system/todo.service
systemctl daemon-reload
systemctl enable todo.service
umask 227
for verb in restart stop reset-failed; do
    echo "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl $verb todo.service"
done >/etc/sudoers.d/shipit-todo.new
visudo -cqf /etc/sudoers.d/shipit-todo.new
mv /etc/sudoers.d/shipit-todo.new /etc/sudoers.d/shipit-todo
