#!/bin/sh
# Builds the program into dist/.
set -eu
cd "$(dirname "$0")"
cargo build --release --locked --target-dir target
rm -rf dist
install -D target/release/todo dist/bin/todo
