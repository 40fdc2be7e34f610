#!/bin/sh
# Prepares a host, once, as root: nginx and the site. A deploy needs no right beside the directory.
set -eu
cd "$(dirname "$0")"
command -v nginx >/dev/null || apt-get install -y --no-install-recommends nginx
install -m 644 todo.conf /etc/nginx/conf.d/todo.conf
nginx -t
systemctl enable --now nginx
systemctl reload nginx
