#!/bin/sh
# Prepares a host, once, as root: nginx and php-fpm, the site and its pool, the directories that
# Laravel expects in storage/, and the right to reload php-fpm.
set -eu
cd "$(dirname "$0")"
[ -d /etc/php/8.2/fpm ] || apt-get install -y --no-install-recommends nginx php8.2-fpm
for directory in storage storage/app storage/logs storage/framework storage/framework/cache \
    storage/framework/sessions storage/framework/views; do
    install -d -o deploy -g deploy /srv/todo/shared "/srv/todo/shared/$directory"
done
install -m 644 pool.conf /etc/php/8.2/fpm/pool.d/todo.conf
install -m 644 todo.conf /etc/nginx/conf.d/todo.conf
nginx -t
systemctl enable --now nginx php8.2-fpm
systemctl reload nginx php8.2-fpm
umask 227
for verb in reload restart stop reset-failed; do
    echo "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl $verb php8.2-fpm.service"
done >/etc/sudoers.d/shipit-todo.new
visudo -cqf /etc/sudoers.d/shipit-todo.new
mv /etc/sudoers.d/shipit-todo.new /etc/sudoers.d/shipit-todo
