#!/bin/sh
# Builds the image and saves it in build/.
set -eu
cd "$(dirname "$0")"
RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --release --locked --target x86_64-unknown-linux-gnu --target-dir target
podman build --quiet --tag todo .
mkdir -p build
rm -f build/todo.tar
podman save --quiet --format oci-archive --output build/todo.tar todo
