//! deploy.toml: every rule, every error, the example.
