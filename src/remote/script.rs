//! The script that does everything on a host: one file a concern, joined in this order. The last
//! one calls `main`. It travels as a word of the command that starts it.

use std::io::Write as _;
use std::sync::{LazyLock, Once, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::quote::word;

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
    include_str!("agent/47-assets.sh"),
    include_str!("agent/50-activate.sh"),
    include_str!("agent/51-service.sh"),
    include_str!("agent/52-health.sh"),
    include_str!("agent/53-process.sh"),
    include_str!("agent/55-slots.sh"),
    include_str!("agent/56-units.sh"),
    include_str!("agent/57-image.sh"),
    include_str!("agent/60-ledger.sh"),
    include_str!("agent/70-verify.sh"),
    include_str!("agent/71-history.sh"),
    include_str!("agent/80-prune.sh"),
    include_str!("agent/81-probe.sh"),
    include_str!("agent/82-stream.sh"),
    include_str!("agent/83-flag.sh"),
    include_str!("agent/99-main.sh"),
);

/// The part of the script that only hosts with slots get.
pub const SLOTS: &str = include_str!("agent/55-slots.sh");

/// The part of the script that only hosts with container images get.
pub const IMAGES: &str = include_str!("agent/57-image.sh");

/// The part of the script that comes with the order `keep`.
pub const ASSETS: &str = include_str!("agent/47-assets.sh");

/// The part of the script that comes with the order `probe`.
pub const PROBE: &str = include_str!("agent/81-probe.sh");

/// The part of the script that comes with the order `probe` about maintenance.
pub const FLAG: &str = include_str!("agent/83-flag.sh");

/// The part of the script that only streams get.
const STREAM: &str = include_str!("agent/82-stream.sh");

/// The script of streams: what they need of the whole one.
const STREAM_SCRIPT: &str = concat!(
    include_str!("agent/10-serve.sh"),
    include_str!("agent/30-look.sh"),
    include_str!("agent/46-hooks.sh"),
    include_str!("agent/51-service.sh"),
    include_str!("agent/60-ledger.sh"),
    include_str!("agent/82-stream.sh"),
    include_str!("agent/99-main.sh"),
);

/// The script as one word of a command, in both forms.
pub(super) struct Forms {
    pub(super) plain: String,
    /// A script that unpacks and runs the real one: it has less than half of the bytes, and so goes
    /// along in the first flight of a TCP connection. Standard input would not do, for sshd opens
    /// no window for it before the command has begun.
    pub(super) packed: String,
}

/// The script of streams.
pub(super) static OF_STREAMS: LazyLock<Forms> = LazyLock::new(|| Forms::of(STREAM_SCRIPT));

/// The parts of the script that only some hosts need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The host has two slots.
    pub slots: bool,
    /// A service of it runs a container image.
    pub images: bool,
}

impl Parts {
    /// Returns the script for such a host.
    pub fn script(self) -> String {
        let left_out = [(SLOTS, self.slots), (IMAGES, self.images)];
        let left_out = left_out.into_iter().filter(|(_, needed)| !needed).map(|(part, _)| part);
        [PROBE, ASSETS, STREAM, FLAG]
            .into_iter()
            .chain(left_out)
            .fold(SCRIPT.to_owned(), |all, part| all.replace(part, ""))
    }

    /// Returns that script as a word.
    pub(super) fn forms(self) -> &'static Forms {
        static FORMS: [OnceLock<Forms>; 4] = [const { OnceLock::new() }; 4];
        FORMS[self.index()].get_or_init(|| Forms::of(&self.script()))
    }

    /// Begins to make that word, once, on a thread of its own: packing takes some milliseconds,
    /// which pass while a connection is made.
    pub(super) fn pack_ahead(self) {
        static BEGUN: [Once; 4] = [const { Once::new() }; 4];
        BEGUN[self.index()].call_once(|| {
            tokio::task::spawn_blocking(move || self.forms());
        });
    }

    fn index(self) -> usize {
        usize::from(self.slots) * 2 + usize::from(self.images)
    }
}

/// Returns `script` without comments and indentation, which would cost bytes on every connection.
pub fn bare(script: &str) -> String {
    let kept = script.lines().map(str::trim_start);
    kept.filter(|line| !line.is_empty() && !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

impl Forms {
    fn of(script: &str) -> Self {
        let script = bare(script);
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        let written = packed.write_all(script.as_bytes());
        let packed = written.and_then(|()| packed.finish()).unwrap_or_default();
        let unpack = format!("printf %s {} | base64 -d | gzip -dc", STANDARD.encode(packed));
        let packed = word(&format!("script=$({unpack}) && eval \"$script\""));
        Self { plain: word(&script), packed }
    }
}

/// Returns the command that runs `script` (a word) with this verb and these arguments by name.
pub(super) fn command(script: &str, verb: &str, arguments: &[(&str, &str)]) -> String {
    let named = arguments.iter().map(|(name, value)| format!(" {name}={}", word(value)));
    let arguments: String = named.collect();
    format!("exec /bin/sh -c {script} shipit {}{arguments}", word(verb))
}
