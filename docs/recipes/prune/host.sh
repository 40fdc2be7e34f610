#!/bin/sh
# Prepares a host, once, as root: the config, and a timer that starts the unit.
set -eu
cd "$(dirname "$0")"
install -D -m 644 deploy.toml /etc/shipit/todo.toml
install -m 644 todo-prune.service todo-prune.timer /etc/systemd/system/
systemctl daemon-reload
systemctl enable --now todo-prune.timer
