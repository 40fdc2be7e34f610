//! Reads the texts of the agent's answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::model::clean::strip;
use crate::model::delta::{BaseState, PartialUpload};
use crate::model::digest::Digest;
use crate::model::drift::{Drift, DriftKind, drift};
use crate::model::hook::HookPlace;
use crate::model::host_state::{Current, Facts, HostState, OwedHooks, Owner, UnitState};
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::ledger::{Ledger, Newer};
use crate::model::manifest::{self, Manifest, line};
use crate::model::slots::{Slot, SlotActivity, SlotState};
use crate::model::sudo::Sudo;
use crate::remote::quote::word as quoted;

/// Longest manifest that is read, in bytes: a million files with long names.
pub const LONGEST_MANIFEST: u64 = 256 << 20;
/// Longest list of partial uploads that is read, in bytes.
const LONGEST_LIST: u64 = 8 << 20;

/// The answer to `judge` about one unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// The unit now; `None`: the host says nothing about it.
    pub unit: Option<UnitState>,
    /// Its InvocationID before the flip.
    pub before_invocation: String,
    /// The time of its last start before the flip, in microseconds since boot.
    pub before_exec_start: Option<u64>,
    /// Whether a process of it other than the main one began after the flip.
    pub renewed: bool,
    /// The time of the flip, in clock ticks since boot.
    pub flip_ticks: Option<u64>,
    /// The release's directory, all links resolved.
    pub real_path: String,
    /// Whether the main process works in that directory, by device and inode.
    pub inside: bool,
    /// Whether another process of the unit works there.
    pub worker: bool,
}

/// The answer to `probe`: facts for `shipit check` beyond a look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckFacts {
    /// The rules of sudo for the verbs of systemctl that a deploy and a revert need.
    pub sudo: Sudo,
    /// Requirements that are missing, beyond those that a look finds.
    pub missing: Vec<String>,
    /// Facts about each unit that a look leaves out, by the names of the service and of the unit.
    pub units: BTreeMap<String, UnitFacts>,
    /// Paths that units name and that exist.
    pub there: BTreeSet<String>,
    /// Paths that units name and that do not exist.
    pub gone: BTreeSet<String>,
    /// The ports where a process listens.
    pub listening: BTreeSet<u16>,
    /// The version of systemd; `None`: unknown.
    pub systemd: Option<u32>,
    /// Whether the user's systemd runs without a login; `None` for other scopes.
    pub linger: Option<bool>,
    /// Whether logind kills processes that a session leaves behind.
    pub kills_user_processes: bool,
    /// `deploy_to`, if it does not exist yet.
    pub absent: Option<String>,
    /// Directories that cannot be written.
    pub unwritable: Vec<String>,
    /// Required paths that are not in `shared/`.
    pub missing_shared: Vec<String>,
    /// `deploy_to` (or the part of it that exists), `releases`, `shared`, and all directories
    /// above.
    pub ways: Vec<Access>,
    /// Linked paths that exist in `shared/`.
    pub shared: Vec<Access>,
    /// The type of the file system, as stat(1) calls it; empty if unknown.
    pub filesystem: String,
    /// Whether that is another one than the root file system.
    pub mounted: bool,
}

/// The answer to `probe` about one unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitFacts {
    /// Properties that a look leaves out.
    pub properties: BTreeMap<String, String>,
    /// Its `EnvironmentFile=` lines, which systemd itself reads.
    pub env_files: Vec<String>,
    /// The services that systemd knows, if this one is not among them.
    pub unit_names: Vec<String>,
    /// The groups that it runs in: its own, then those of its user.
    pub groups: Vec<String>,
    /// Its user, if the host has no such user.
    pub no_user: Option<String>,
}

impl CheckFacts {
    /// Returns what is known of a unit; nothing, if it was not asked about.
    pub fn unit_facts(&self, unit: &UnitState) -> UnitFacts {
        let title = format!("{} {}", unit.service, unit.name);
        self.units.get(&title).cloned().unwrap_or_default()
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().map(|line| line.split_once(' ').unwrap_or((line, "")))
}

/// Reads what a look printed. Skips lines that it does not know. The ledger is read as it is:
/// without its control characters a damaged line might pass for an empty or a sound one.
pub fn host_state(raw: &str) -> HostState {
    let text = &strip(raw);
    let units = sections(text).iter().map(unit).collect();
    let mut state = HostState { ledger: ledger(raw), units, ..HostState::default() };
    let mut begun = BTreeSet::new();
    let mut dangling = false;
    for (word, value) in pairs(text) {
        match word {
            "current" => {
                let foreign = || Current::Foreign(value.to_owned());
                state.current = Layout::parse_target(value).map_or_else(foreign, Current::Release);
            }
            "dangling" => dangling = true,
            "notalink" => state.current = Current::NotALink,
            "release" => state.present.push(value.to_owned()),
            "made" => _ = state.made.insert(value.to_owned()),
            "begun" => _ = begun.insert(value.to_owned()),
            "newer" => state.newer = newer(value),
            "owed" => state.owed = owed(value),
            "inuse" => _ = state.in_use.insert(value.to_owned()),
            "slot" => state.slots.extend(slot(value)),
            "leftover" => state.leftovers.push(value.to_owned()),
            "key" => state.key = value.as_bytes().to_vec(),
            "holder" => state.holder = Some(value.to_owned()),
            "deploylock" => state.lock.deploy_lock = Some(value.to_owned()),
            "owner" => state.lock.owner = owner(value),
            "stale" => state.lock.stale = Some(value.to_owned()),
            _ => fact(&mut state.facts, word, value),
        }
    }
    if let (true, Current::Release(id)) = (dangling, &state.current) {
        state.current = Current::Foreign(Layout::target(*id));
    }
    state.present.sort();
    state.made.retain(|name| state.present.contains(name));
    state.tell_apart(&begun);
    state
}

/// Reads `committed 20260821090000`.
fn owed(text: &str) -> Option<OwedHooks> {
    let (place, id) = text.split_once(' ')?;
    Some(OwedHooks { id: id.parse().ok()?, place: HookPlace::read(place)? })
}

/// Reads `blue 8081 live ../releases/20260821090000`.
fn slot(text: &str) -> Option<SlotState> {
    let mut words = text.splitn(4, ' ');
    let (name, port) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
    let activity = SlotActivity::read(words.next()?)?;
    let release = words.next()?.strip_prefix("../").and_then(Layout::parse_target);
    Some(SlotState { slot: Slot { name, port }, activity, release })
}

/// Reads `.shipit/format 2 shipit 0.9.0`.
fn newer(text: &str) -> Option<Newer> {
    let (what, rest) = text.split_once(' ')?;
    let (version, tool) = rest.split_once(' ').unwrap_or((rest, ""));
    let tool = Some(tool.to_owned()).filter(|tool| !tool.is_empty());
    Some(Newer { what: what.to_owned(), version: version.to_owned(), tool })
}

/// Returns the ledger from the lines that the agent sent; `skipped 12` stands for 12 others.
fn ledger(text: &str) -> Ledger {
    let mut number = 0;
    Ledger::parse_numbered(pairs(text).filter_map(|(word, value)| match word {
        "skipped" => {
            number += value.parse().unwrap_or(0);
            None
        }
        "ledger" => {
            number += 1;
            Some((number, value))
        }
        _ => None,
    }))
}

/// Reads `4711 run000000001`.
fn owner(text: &str) -> Option<Owner> {
    let (pid, run) = text.split_once(' ')?;
    Some(Owner { pid: pid.parse().ok()?, run: run.to_owned() })
}

fn fact(facts: &mut Facts, word: &str, value: &str) {
    match word {
        "clock" => {
            let seconds = value.parse().unwrap_or_default();
            facts.clock = DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default();
        }
        "user" => value.clone_into(&mut facts.user),
        "uid" => facts.root = value == "0",
        "shell" => value.clone_into(&mut facts.shell),
        "groups" => facts.groups = value.split_whitespace().map(ToOwned::to_owned).collect(),
        "free" => {
            let mut numbers = value.split(' ').map(|number| number.parse::<u64>().ok());
            let [blocks, size, inodes] = std::array::from_fn(|_| numbers.next().flatten());
            facts.free_bytes = blocks.zip(size).map(|(blocks, size)| blocks.saturating_mul(size));
            facts.free_inodes = inodes;
        }
        "tool" => _ = facts.tools.insert(value.to_owned()),
        "missing" => facts.missing.push(value.to_owned()),
        "strange" => {
            if let Some((what, fix)) = strange(value, &facts.user) {
                facts.fixes.insert(what.clone(), fix);
                facts.missing.push(what);
            }
        }
        "sudo" => facts.sudo.read_answer(value),
        "sudorule" => facts.sudo.read_rule(value),
        _ => {}
    }
}

/// Reads `lrwxrwxrwx nobody 65534 /srv/todo/.shipit/lock`, a path that `user` must not write to.
/// Returns the problem and the fix.
fn strange(text: &str, user: &str) -> Option<(String, String)> {
    let mut words = text.splitn(4, ' ');
    let (mode, owner, uid) = (words.next()?, words.next()?, words.next()?);
    let path = words.next()?.trim_end_matches("/.");
    let path = if path.is_empty() { "/" } else { path };
    let owner = if owner == "UNKNOWN" { format!("user {uid}") } else { owner.to_owned() };
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    let word = if plain { path.to_owned() } else { quoted(path) };
    let on_host = |command: &str| format!("on the host: `sudo {command} {word}`");
    Some(match mode.as_bytes() {
        [b'l', ..] if path.ends_with("/releases") => (
            format!("{path} is a link, and belongs to {owner}"),
            "set `deploy_to` to the directory that the link points to".to_owned(),
        ),
        [b'l', ..] => (format!("{path} is a link, and belongs to {owner}"), on_host("rm")),
        [kind, ..] if !b"d-".contains(kind) => (
            format!("{path} is neither a file nor a directory, and belongs to {owner}"),
            on_host("rm"),
        ),
        [.., b'w', _] => (format!("everybody can write {path}"), on_host("chmod o-w")),
        _ => (
            format!("{path} belongs to {owner}, and {user} deploys"),
            on_host(&format!("chown {user}")),
        ),
    })
}

/// The lines about one unit.
struct Section<'t> {
    /// The names of the service and of the unit.
    title: &'t str,
    lines: Vec<(&'t str, &'t str)>,
}

/// Returns the lines that follow each `service NAME UNIT`, in the order of the first of these.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut all: Vec<Section<'_>> = Vec::new();
    let mut now = None;
    for (word, value) in pairs(text) {
        if word == "service" {
            let known = all.iter().position(|section| section.title == value);
            now = Some(known.unwrap_or_else(|| {
                all.push(Section { title: value, lines: Vec::new() });
                all.len() - 1
            }));
        } else if let Some(section) = now.and_then(|now| all.get_mut(now)) {
            section.lines.push((word, value));
        }
    }
    all
}

/// Reads the lines of a unit.
fn unit(section: &Section<'_>) -> UnitState {
    let (service, name) = section.title.split_once(' ').unwrap_or((section.title, ""));
    let mut unit =
        UnitState { service: service.to_owned(), name: name.to_owned(), ..UnitState::default() };
    let (mut up, mut began) = (None, None);
    let mut hidden = BTreeSet::new();
    for (_, line) in section.lines.iter().filter(|(word, _)| *word == "unit") {
        let Some((name, value)) = line.split_once('=') else { continue };
        match name {
            "LoadState" => value.clone_into(&mut unit.load),
            "ActiveState" => value.clone_into(&mut unit.active),
            "SubState" => value.clone_into(&mut unit.sub),
            "NRestarts" => unit.restarts = value.parse().unwrap_or_default(),
            "InvocationID" => value.clone_into(&mut unit.invocation),
            "MainPID" => unit.main_pid = value.parse().unwrap_or_default(),
            "WorkingDirectory" => value.clone_into(&mut unit.working_directory),
            "ExecStart" => value.clone_into(&mut unit.exec_start),
            "dangling" => unit.dangling = true,
            "User" => value.clone_into(&mut unit.user),
            "NeedDaemonReload" => unit.needs_daemon_reload = value == "yes",
            "StateChangeTimestamp" => value.clone_into(&mut unit.since),
            "cwd" => unit.cwd = Some(value.to_owned()),
            "exe" => unit.exe = Some(value.to_owned()),
            "started" => unit.started = value.parse().ok(),
            "hidden" => _ = hidden.insert(value.parse().ok().map(Duration::from_secs)),
            "uptime" => up = value.parse().ok().map(Duration::from_secs),
            "ExecMainStartTimestampMonotonic" => {
                unit.exec_start_at = value.parse().ok();
                began = unit.exec_start_at.map(Duration::from_micros);
            }
            "Type" => value.clone_into(&mut unit.service_type),
            "Result" => value.clone_into(&mut unit.result),
            "RootDirectory" | "BindPaths" | "BindReadOnlyPaths" => {
                unit.mounts.push_str(&value.replace(':', " "));
                unit.mounts.push(' ');
            }
            "NextElapseUSecRealtime" | "NextElapseUSecMonotonic" => {
                unit.has_next_run |= !["", "0", "n/a", "infinity"].contains(&value);
            }
            _ => {}
        }
    }
    let ago = |began: Option<Duration>| Some(up?.saturating_sub(began?));
    unit.running_for = ago(began).filter(|_| unit.main_pid != 0);
    unit.hidden_for = hidden.into_iter().map(ago).collect();
    unit
}

/// Reads the text of a judgement: one for each unit.
pub fn judgements(text: &str) -> Vec<Judgement> {
    let real = pairs(text).find(|(word, _)| *word == "real");
    let real_path = real.map_or("", |(_, value)| value);
    let judgement = |section: &Section<'_>| {
        let find = |name: &str| section.lines.iter().find(|(word, _)| *word == name);
        Judgement {
            unit: Some(unit(section)),
            before_invocation: find("before").map_or("", |(_, value)| value).to_owned(),
            flip_ticks: find("ticks").and_then(|(_, value)| value.parse().ok()),
            real_path: real_path.to_owned(),
            before_exec_start: find("began").and_then(|(_, value)| value.parse().ok()),
            renewed: find("renewed").is_some(),
            inside: find("inside").is_some(),
            worker: find("worker").is_some(),
        }
    };
    sections(text).iter().map(judgement).collect()
}

/// Owner and permissions of a path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// A user's name, or `UNKNOWN`.
    pub owner: String,
    /// A group's name.
    pub group: String,
    /// The path on the host.
    pub path: String,
}

impl Access {
    /// Returns whether a user in these groups has all of `bits` (4 read, 2 write, 1 enter).
    pub fn lets(&self, user: &str, groups: &[String], bits: u32) -> bool {
        let shift = match () {
            () if user == "root" => return true,
            () if self.owner == user => 6,
            () if groups.contains(&self.group) => 3,
            () => 0,
        };
        (self.mode >> shift) & bits == bits
    }
}

/// Reads `755 deploy deploy /srv/todo`.
fn access(text: &str) -> Option<Access> {
    let mut words = text.splitn(4, ' ');
    let mode = u32::from_str_radix(words.next()?, 8).ok()?;
    let mut word = || words.next().map(str::to_owned);
    Some(Access { mode, owner: word()?, group: word()?, path: word()? })
}

/// Reads the text of a probe.
pub fn probe(text: &str) -> CheckFacts {
    let units = sections(text);
    let units = units.iter().map(|section| (section.title.to_owned(), unit_facts(section)));
    let mut probe = CheckFacts { units: units.collect(), ..CheckFacts::default() };
    for (word, value) in pairs(text) {
        match word {
            "sudo" => probe.sudo.read_answer(value),
            "sudorule" => probe.sudo.read_rule(value),
            "missing" => probe.missing.push(value.to_owned()),
            "there" => _ = probe.there.insert(value.to_owned()),
            "gone" => _ = probe.gone.insert(value.to_owned()),
            "systemd" => probe.systemd = value.parse().ok(),
            "listens" => probe.listening.extend(u16::from_str_radix(value, 16)),
            "linger" => probe.linger = Some(value == "yes"),
            "killuser" => probe.kills_user_processes = true,
            "absent" => probe.absent = Some(value.to_owned()),
            "unwritable" => probe.unwritable.push(value.to_owned()),
            "noshared" => probe.missing_shared.push(value.to_owned()),
            "way" => probe.ways.extend(access(value)),
            "shared" => probe.shared.extend(access(value)),
            "filesystem" => value.clone_into(&mut probe.filesystem),
            "mounted" => probe.mounted = true,
            _ => {}
        }
    }
    probe
}

fn unit_facts(section: &Section<'_>) -> UnitFacts {
    let mut facts = UnitFacts::default();
    for (word, value) in &section.lines {
        match *word {
            "property" => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                facts.properties.insert(name.to_owned(), value.to_owned());
            }
            "unitname" => facts.unit_names.push((*value).to_owned()),
            "envfile" => facts.env_files.push((*value).to_owned()),
            "runner" => facts.groups.extend(value.split_whitespace().map(str::to_owned)),
            "nouser" => facts.no_user = Some((*value).to_owned()),
            _ => {}
        }
    }
    facts
}

/// The answer to `history`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerTail {
    /// The newest lines of the ledger.
    pub ledger: Ledger,
    /// Whether there are older ones that were not sent.
    pub more: bool,
}

/// Reads what a history printed, as it is. If older lines were left out, drops the oldest run,
/// which may be incomplete.
pub fn told(text: &str) -> LedgerTail {
    let lines: Vec<_> = pairs(text).filter(|(word, _)| *word == "ledger").collect();
    let all = pairs(text).find(|(word, _)| *word == "lines").and_then(|(_, n)| n.parse().ok());
    let more = all.is_some_and(|all: usize| all > lines.len());
    let lines = lines.into_iter().map(|(_, line)| line).skip(usize::from(more));
    let ledger = Ledger::parse(lines);
    LedgerTail { ledger: if more { ledger.without_first_run() } else { ledger }, more }
}

/// The answer to `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compared {
    /// Whether there is a manifest to compare with.
    pub manifest: bool,
    /// The differences from it.
    pub drift: Vec<Drift>,
    /// Messages about what could not be read.
    pub unread: Vec<String>,
    /// The mode of each env file that was asked for and exists.
    pub env_modes: BTreeMap<String, String>,
    /// The keyed digest of all env files that were asked for; `None` if one of them, or the key,
    /// could not be read.
    pub env: Option<Digest>,
}

/// Reads the text of a comparison by a host with this key.
pub fn compared(text: &str, key: &[u8]) -> Compared {
    let of = |word: &'static str| {
        pairs(text).filter(move |(found, _)| *found == word).map(|(_, value)| value)
    };
    let special = of("special").map(|path| Drift {
        path: path.trim_start_matches("./").to_owned(),
        change: DriftKind::Extra,
    });
    let modes = of("envmode").filter_map(|line| line.split_once(' '));
    let inner = of("env").next().and_then(|inner| inner.parse().ok());
    let digest = inner.map(|inner| Digest::keyed_from_inner(key, inner));
    Compared {
        manifest: of("nomanifest").next().is_none(),
        drift: drift(of("was"), of("is")).into_iter().chain(special).collect(),
        unread: of("unread").map(ToOwned::to_owned).collect(),
        env_modes: modes.map(|(mode, path)| (path.to_owned(), mode.to_owned())).collect(),
        env: digest,
    }
}

/// Reads the answer to `base`. Of several partial uploads of the release whose manifest has the
/// digest `release`, takes the largest. Fails if the bytes cannot be decompressed.
pub fn shareable(bytes: &[u8], live: Option<ReleaseId>, release: Digest) -> io::Result<BaseState> {
    let text = unpack(bytes, LONGEST_LIST)?;
    let mut found = BaseState::default();
    let mut parts: Vec<(&str, PartialUpload)> = Vec::new();
    for (word, value) in pairs(&text) {
        match word {
            "sealed" => found.live = live.zip(value.parse().ok()),
            "apart" => _ = found.unshareable.insert(below(value).to_owned()),
            "part" => {
                let (of, place) = value.split_once(' ').unwrap_or_default();
                let part = PartialUpload { place: place.to_owned(), ..PartialUpload::default() };
                parts.push((of, part));
            }
            "file" => {
                let file = part_file(value);
                if let (Some((_, part)), Some((path, file))) = (parts.last_mut(), file) {
                    part.files.insert(path, file);
                }
            }
            _ => {}
        }
    }
    let bytes = |part: &PartialUpload| part.files.values().map(|(_, size)| size).sum::<u64>();
    let release = release.to_string();
    let ours = parts.into_iter().filter(|(of, _)| *of == release).map(|(_, part)| part);
    found.partial = ours.max_by_key(bytes);
    Ok(found)
}

/// Reads `444 12 ./bin/server`: mode, size in bytes, path.
fn part_file(text: &str) -> Option<(String, (u32, u64))> {
    let mut words = text.splitn(3, ' ');
    let mode = u32::from_str_radix(words.next()?, 8).ok()?;
    let size = words.next()?.parse().ok()?;
    Some((below(words.next()?).to_owned(), (mode, size)))
}

fn below(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

/// Returns digest and text of a sealed manifest, from the answer to `seal` and the manifest that
/// was checked; `None` if hooks changed more than they added.
pub fn sealed(text: &str, checked: &Manifest) -> Option<(Digest, String)> {
    let mut digest = None;
    let mut more = Vec::new();
    for (word, value) in pairs(text) {
        match word {
            "sealed" => digest = value.parse().ok(),
            "more" => more.push(value.to_owned()),
            _ => {}
        }
    }
    let lines = checked.nodes().iter().map(|(path, node)| line(path, node));
    let text = manifest::sealed(lines.chain(more));
    digest.filter(|digest| *digest == Digest::of(text.as_bytes())).map(|digest| (digest, text))
}

/// Returns the text that was compressed with zstd, gzip or not at all; at most `most` bytes of it.
/// Fails if it cannot be decompressed, or is not UTF-8.
pub fn unpack(bytes: &[u8], most: u64) -> io::Result<String> {
    let mut text = String::new();
    let source: Box<dyn Read + '_> = match bytes {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(bytes)?),
        [0x1f, 0x8b, ..] => Box::new(flate2::read::GzDecoder::new(bytes)),
        _ => Box::new(bytes),
    };
    source.take(most).read_to_string(&mut text)?;
    Ok(text)
}
