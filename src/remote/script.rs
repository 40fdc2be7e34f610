//! The script that does everything on a host: one file a concern, joined in this order. The last one
//! calls `main`.

/// The whole script, as it stands in the files.
pub const SCRIPT: &str = concat!(
    include_str!("agent/00-state.sh"),
    include_str!("agent/10-serve.sh"),
    include_str!("agent/20-lock.sh"),
    include_str!("agent/30-look.sh"),
    include_str!("agent/40-receive.sh"),
    include_str!("agent/41-tree.sh"),
    include_str!("agent/42-rebuild.sh"),
    include_str!("agent/43-check.sh"),
    include_str!("agent/44-share.sh"),
    include_str!("agent/45-assemble.sh"),
    include_str!("agent/46-hooks.sh"),
    include_str!("agent/50-activate.sh"),
    include_str!("agent/51-service.sh"),
    include_str!("agent/52-health.sh"),
    include_str!("agent/53-process.sh"),
    include_str!("agent/60-ledger.sh"),
    include_str!("agent/70-verify.sh"),
    include_str!("agent/71-history.sh"),
    include_str!("agent/80-prune.sh"),
    include_str!("agent/81-probe.sh"),
    include_str!("agent/99-main.sh"),
);
