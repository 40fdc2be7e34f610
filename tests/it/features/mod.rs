//! Deploy, rollback, prune through the real engine and real shells, without SSH.

mod after;
mod assets;
mod delta;
mod env;
mod health;
mod hooks;
mod large;
mod promoted;
mod rollouts;
mod services;
mod staged;
mod story;
mod streams;
mod stripes;
