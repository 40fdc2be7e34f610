//! Promises of every reader, for any input. Each function takes any bytes, has them read and panics
//! if a promise is broken. The fuzzer calls them (`fuzz/`), and so do the properties and the corpus
//! in `cargo test`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::Path;

use chrono::{DateTime, FixedOffset, Utc};
use russh::keys::PublicKey;
use shipit::artifact::{
    Artifact, ArtifactError, KnownDigests, Limits, Packed, PreparedDelta, pack_tail,
};
use shipit::config::checks::HealthProbe;
use shipit::config::error::ConfigError;
use shipit::config::file::ConfigFile;
use shipit::config::resolve::Overrides;
use shipit::config::{ArtifactSource, ArtifactSpec, Config};
use shipit::deploy::divergence::find_split;
use shipit::deploy::goal::PruneRule;
use shipit::deploy::health::{ProofRule, prove, stayed_up};
use shipit::deploy::retention::{rollback_candidates, to_prune};
use shipit::deploy::rollout::batches;
use shipit::model::clean::strip;
use shipit::model::codec::Codec;
use shipit::model::digest::Digest;
use shipit::model::drift::drift;
use shipit::model::host_state::HostState;
use shipit::model::id::ReleaseId;
use shipit::model::layout::Layout;
use shipit::model::ledger::{Entry, Ledger, LedgerEvent};
use shipit::model::manifest::{Manifest, Node};
use shipit::model::operations::operations;
use shipit::model::service::Action;
use shipit::remote::answer;
use shipit::remote::answer::LedgerTail;
use shipit::remote::frames::{Frame, Frames};
use shipit::remote::session::SessionError;
use shipit::report::error::{causes, parts};
use shipit::report::history::{Page, history_json, history_table};
use shipit::report::releases::{releases_json, releases_table};
use shipit::report::status::{StatusContext, status_json, status_view};
use shipit::report::styles::Styles;
use shipit::report::unlock::holders;
use shipit::ssh::expand::LocalEnv;
use shipit::ssh::given::GivenTexts;
use shipit::ssh::known_hosts::{KeyRecord, KnownHosts};
use shipit::ssh::options::SshAnswers;
use shipit::ssh::ssh_config;
use shipit::ssh::target::SshTarget;

/// Takes any bytes, and panics where a promise is broken.
pub type Invariant = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const ALL: [(&str, Invariant); 9] = [
    ("answers", answers),
    ("archive_tar", archive_tar),
    ("archive_zip", archive_zip),
    ("config", config),
    ("frames", frames),
    ("known_hosts", known_hosts),
    ("ledger", ledger),
    ("manifest", manifest),
    ("ssh_config", ssh_config),
];

/// Small, so that a few bytes of input can reach them.
const LIMITS: Limits = Limits {
    entries: 64,
    names: 1 << 20,
    steps: 10_000,
    bytes: 1 << 20,
    ratio: 250,
    ratio_from: 1 << 16,
};

/// A zip is refused, or becomes a release that keeps every rule.
pub fn archive_zip(bytes: &[u8]) {
    archive("a.zip", bytes);
}

/// A tar is refused, or becomes a release that keeps every rule. The first byte says how it is
/// packed; unpacked ones get right checksums, which chance would never find.
pub fn archive_tar(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    match first % 8 {
        0 => archive("a.tar", rest),
        1 => archive("a.tar.gz", rest),
        2 => archive("a.tar.zst", rest),
        3 => archive("a.tar.xz", rest),
        4 => archive("a.tar.bz2", rest),
        5 => archive("a", rest),
        _ => archive("a.tar", &with_checksums(rest)),
    }
}

/// Returns the tar with the right checksum in each header.
pub fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut tar = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = tar.get_mut(at..at + 512) {
        let header = tar::Header::from_byte_slice(block);
        let body = header.entry_size().ok().filter(|size| *size <= 1 << 20).unwrap_or(0);
        let empty = block.iter().all(|byte| *byte == 0);
        let mut header = header.clone();
        header.set_cksum();
        if !empty {
            block.copy_from_slice(header.as_bytes());
        }
        at += 512 + usize::try_from(body).unwrap().next_multiple_of(512);
    }
    tar
}

/// Opens an artifact of this name and these bytes.
pub fn archive(name: &str, bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    fs::write(dir.path().join(name), bytes).unwrap();
    match open(&dir.path().join(name), &scratch, &LIMITS) {
        Ok(artifact) => release(&artifact, dir.path(), &scratch),
        Err(error) => harmless(&shown(&error, ArtifactError::hint)),
    }
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "scratch files have no names");
}

fn open(path: &Path, scratch: &Path, limits: &Limits) -> Result<Artifact, ArtifactError> {
    let source = ArtifactSource::Path { path: path.to_owned(), sha256: None };
    let spec = ArtifactSpec::of(source);
    Artifact::open(&spec, Some(scratch), limits, &KnownDigests::default(), || ())
}

/// Returns the error with its causes and its hint, as it is printed.
fn shown<E: Error>(error: &E, hint: fn(&E) -> Option<String>) -> String {
    let (what, hint) = (error.to_string(), hint(error));
    parts(&Styles::plain(), &what, &causes(error), None, hint.as_deref())
}

/// Nothing that a terminal would obey, and nothing that turns text round.
#[track_caller]
fn harmless(text: &str) {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let obeyed = |c: char| c.is_control() && !"\n\t".contains(c);
    assert!(!text.contains(|c| turns(c) || obeyed(c)), "{text:?}");
}

fn release(artifact: &Artifact, dir: &Path, scratch: &Path) {
    let manifest = artifact.manifest();
    assert!(manifest.nodes().len() <= LIMITS.entries, "{} entries", manifest.nodes().len());
    assert!(manifest.size() <= LIMITS.bytes, "{} bytes", manifest.size());
    assert_eq!(Manifest::parse(&manifest.to_text()).as_ref(), Some(manifest));
    assert_eq!(manifest.digest(), artifact.digest());
    manifest.nodes().keys().for_each(|path| well_named(path, manifest));
    if manifest.nodes().values().any(|node| matches!(node, Node::Link { .. })) {
        links_stay_inside(manifest, &dir.join("made/release"));
    }
    packs_and_opens_again(artifact, dir, scratch);
}

#[track_caller]
fn well_named(path: &str, manifest: &Manifest) {
    assert!(!path.contains(char::is_control), "{path:?}");
    stays_inside(path);
    if let Some((above, _)) = path.rsplit_once('/') {
        assert_eq!(manifest.nodes().get(above), Some(&Node::Dir), "above {path:?}");
    }
}

#[track_caller]
fn stays_inside(path: &str) {
    assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
}

/// The kernel is asked where each link leads.
fn links_stay_inside(manifest: &Manifest, root: &Path) {
    fs::create_dir_all(root).unwrap();
    for (path, node) in manifest.nodes() {
        match node {
            Node::Dir => fs::create_dir(root.join(path)).unwrap(),
            Node::File { .. } => fs::write(root.join(path), "").unwrap(),
            Node::Link { target } => std::os::unix::fs::symlink(target, root.join(path)).unwrap(),
        }
    }
    let root = fs::canonicalize(root).unwrap();
    for path in manifest.nodes().keys() {
        if let Ok(end) = fs::canonicalize(root.join(path)) {
            assert!(end.starts_with(&root), "{path:?} leads to {}", end.display());
        }
    }
}

/// The stream to a host is a tar of exactly these entries.
fn packs_and_opens_again(artifact: &Artifact, dir: &Path, scratch: &Path) {
    if artifact.manifest().nodes().keys().any(|path| path.len() > 3900) {
        return; // with the prefix it is longer than a path in an artifact may be
    }
    let (to, packing) = Packed::channel(Codec::Plain);
    let release = artifact.manifest().clone().into();
    let whole = PreparedDelta::default();
    artifact.pack(&release, "p", Codec::Plain, u64::MAX, &whole, &to).unwrap();
    let packed = packing.borrow().clone();
    let [range] = &packed.chunks[..] else { panic!("{packed:?}: it is small") };
    assert_eq!(range.len, packed.len);
    let mut bytes = range.read(0..range.len).unwrap();
    bytes.extend(pack_tail("p", &[], Codec::Plain).unwrap());
    let path = dir.join("packed.tar");
    fs::write(&path, bytes).unwrap();
    let again = open(&path, scratch, &Limits::default()).unwrap();
    let inside = |(path, node): (&String, &Node)| {
        Some((path.strip_prefix("p/tree/")?.to_owned(), node.clone()))
    };
    let nodes: BTreeMap<_, _> = again.manifest().nodes().iter().filter_map(inside).collect();
    assert_eq!(&nodes, artifact.manifest().nodes());
}

/// A manifest that is read is the canonical text, line by line; comparing takes any lines.
pub fn manifest(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines: BTreeSet<&str> = text.split_terminator('\n').collect();
    for word in text.split_whitespace() {
        let same = |digest: Digest| digest.to_string().eq_ignore_ascii_case(word);
        assert!(word.parse().map_or(true, same), "{word}");
    }
    if let Some(manifest) = Manifest::parse(&text) {
        let printed = manifest.to_text();
        assert_eq!(printed.lines().count(), text.lines().count(), "{text:?}");
        let known = |line: &str| assert!(lines.contains(line), "{line:?} of {text:?}");
        printed.split_terminator('\n').for_each(known);
        manifest.nodes().keys().for_each(|path| stays_inside(path));
        assert_eq!(Manifest::parse(&printed), Some(manifest));
    }
    let (was, is) = text.split_once("\n\n").unwrap_or((&text, ""));
    let found = drift(was.lines(), is.lines());
    assert!(found.is_sorted());
    assert!(found.len() <= 2 * text.lines().count());
}

/// Lines that are not readable are counted and hide nothing; the fold says the last word of each
/// release, and telling of it shows nothing that a terminal would obey.
pub fn ledger(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let ledger = Ledger::parse(text.lines());
    let filled = text.lines().filter(|line| !line.is_empty()).count();
    assert_eq!(ledger.entries().len() + ledger.unreadable(), filled);
    let torn: Vec<_> = text.lines().take(text.lines().count() / 2).collect();
    assert!(ledger.entries().starts_with(Ledger::parse(torn).entries()));
    for entry in ledger.entries() {
        let entry = entry.clone().summed();
        let line = entry.line();
        assert!(!line.contains('\n'));
        assert_eq!(Ledger::parse([line.as_str()]).entries(), [entry]);
    }
    folds(&ledger);
    let answer: Vec<_> = text.lines().flat_map(|line| ["ledger ", line, "\n"]).collect();
    let told = answer::told(&answer.concat());
    assert_eq!(told.ledger, ledger);
    history(told);
}

fn folds(ledger: &Ledger) {
    let histories = ledger.histories();
    for (release, history) in &histories {
        let of: Vec<_> = ledger.entries().iter().filter(|e| e.release == *release).collect();
        let last =
            |wanted: &dyn Fn(&Entry) -> bool| of.iter().rfind(|e| wanted(e)).map(|e| e.event);
        let pin = last(&|e| matches!(e.event, LedgerEvent::Pinned | LedgerEvent::Unpinned));
        assert_eq!(of.last().copied(), Some(&history.last));
        assert_eq!(history.pinned, pin == Some(LedgerEvent::Pinned));
        assert_eq!(history.staged, of.iter().any(|e| e.event == LedgerEvent::Staged));
        assert_eq!(history.origin.is_some(), history.staged);
    }
    assert!(ledger.entries().iter().all(|entry| histories.contains_key(&entry.release)));
    let done = operations(ledger.entries());
    assert!(done.len() <= ledger.entries().len());
    assert!(
        done.iter()
            .all(|operation| operation.took.is_none_or(|took| took >= chrono::TimeDelta::zero()))
    );
    for moment in [DateTime::<Utc>::MIN_UTC, DateTime::default(), DateTime::<Utc>::MAX_UTC] {
        let live = ledger.live_about(moment);
        assert!(live.len() <= ledger.entries().len());
    }
}

/// The styles of a terminal of 80 columns.
fn narrow() -> Styles {
    Styles { width: Some(80), ..Styles::plain() }
}

fn history(told: LedgerTail) {
    let offset = FixedOffset::east_opt(7200).unwrap();
    let hosts = [("web".to_owned(), told)];
    harmless(&history_table(&hosts, Page { limit: 0, offset }, &narrow()));
    harmless(&history_json(&hosts, "prod", 0).to_string());
}

/// A `deploy.toml` is refused with its place, or becomes stages that keep every rule.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let last = text.matches('\n').count() + 1;
    let refused = |error: &ConfigError| {
        let said = error.to_string();
        harmless(&shown(error, ConfigError::hint));
        let rest = said.strip_prefix("deploy.toml:").unwrap_or_else(|| panic!("{said:?}"));
        let number = rest.split(':').next().and_then(|number| number.parse().ok());
        assert!(number.is_none_or(|line| (1..=last).contains(&line)), "{said:?}");
    };
    let file = match ConfigFile::parse("deploy.toml", Path::new("/project"), text.clone()) {
        Ok(file) => file,
        Err(error) => return refused(&error),
    };
    for stage in file.stages() {
        match file.resolve(Some(stage), &Overrides::default()) {
            Ok(config) => valid(&config),
            Err(error) => refused(&error),
        }
    }
}

fn valid(config: &Config) {
    assert!(config.keep > 0 && config.parallel > 0 && !config.hosts.is_empty());
    assert!(config.layout.root().starts_with('/'), "{}", config.layout.root());
    assert!(!config.layout.root().contains(char::is_control));
    let names: BTreeSet<_> = config.hosts.iter().map(|host| &host.name).collect();
    assert_eq!(names.len(), config.hosts.len());
    let mut places = batches(&config.rollout, &config.hosts).concat();
    places.sort_unstable();
    assert!(places.into_iter().eq(0..config.hosts.len()), "each host flips once");
    for link in &config.links {
        let inside = |part| !matches!(part, "" | "." | "..");
        assert!(link.path.split('/').all(inside), "{}", link.path);
    }
    for check in &config.health.checks {
        let HealthProbe::Http(http) = &check.probe else { continue };
        assert!(http.path.starts_with('/'), "{}", http.path);
        assert!(!http.url.contains(char::is_control), "{}", http.url);
    }
}

/// A key that the tests have on record.
pub const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

/// In any known_hosts, a further line about a host is found, and a revocation overrides it.
/// The first line is the host.
pub fn known_hosts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (name, text) = text.split_once('\n').unwrap_or(("web", &text));
    let key = PublicKey::from_openssh(KEY).unwrap();
    let verdict = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, text).unwrap();
        let known = KnownHosts::read(&[file.path().to_owned()], &[&name.to_lowercase()]).unwrap();
        let lines: Vec<_> = known.lookup(name).iter().map(|place| place.line).collect();
        assert!(
            lines.is_sorted() && lines.iter().all(|line| (1..=text.lines().count()).contains(line))
        );
        known.verdict(name, key.key_data())
    };
    let before = verdict(text);
    assert!(!matches!(verdict(&format!("{text}\n@revoked * {KEY}\n")), KeyRecord::Known(_)));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:[]".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return;
    }
    let after = verdict(&format!("{text}\n{name} {KEY}\n"));
    match before {
        KeyRecord::Known(_) | KeyRecord::Revoked(_) => {
            assert_eq!(after, before_at(after.clone(), &before));
        }
        _ => assert!(matches!(after, KeyRecord::Known(_)), "{after:?}"),
    }
}

/// `before`, in the file of `after`.
fn before_at(after: KeyRecord, before: &KeyRecord) -> KeyRecord {
    use KeyRecord::{Known, Revoked};
    match (after, before) {
        (Known(mut place), Known(was)) => {
            place.line = was.line;
            Known(place)
        }
        (Revoked(mut place), Revoked(was)) => {
            place.line = was.line;
            Revoked(place)
        }
        _ => before.clone(),
    }
}

/// Output of `ssh -G` gives settings that can be used as they are, or an error about one of them.
pub fn ssh_config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let around = LocalEnv {
        home: "/home/me".into(),
        cwd: "/project".into(),
        user: "me".into(),
        hostname: "laptop.example.net".into(),
        env: BTreeMap::from([("SSH_AUTH_SOCK".into(), "/run/agent".into())]),
        ssh: "ssh".into(),
        given: GivenTexts::default(),
    };
    let target = SshTarget { host: "web".into(), user: None, port: None };
    let settings = match ssh_config::read_answer(&SshAnswers::read(&text, ""), &target, &around) {
        Ok(settings) => settings,
        Err(error) => return harmless(&shown(&error, SessionError::hint)),
    };
    assert_eq!(settings.alias, "web");
    assert!(!settings.hostname.is_empty() && !settings.user.is_empty());
    assert!(settings.alive_count > 0 && !settings.alive_interval.is_zero());
    assert!(!settings.connect_timeout.is_zero());
    let files = [&settings.identity_files, &settings.certificate_files, &settings.known_hosts];
    assert!(files.into_iter().flatten().all(|file| file.is_absolute()), "{files:?}");
    for hop in &settings.proxy_jump {
        assert!(!hop.host.is_empty() && !hop.host.starts_with('-'), "{hop:?}");
        assert!(!hop.host.contains(|c: char| c.is_whitespace() || c.is_control()), "{hop:?}");
    }
}

/// Any answer of a host can be read, planned from and shown.
pub fn answers(bytes: &[u8]) {
    let text = strip(&String::from_utf8_lossy(bytes));
    let state = answer::host_state(&text);
    decides(&state);
    let hosts = [("web".to_owned(), state)];
    shows(&hosts);
    history(answer::told(&text));
    let layout = Layout::new("/srv/todo");
    let rule = ProofRule::new(&layout, Action::Restart);
    for it in answer::judgements(&text) {
        for doubt in [prove(&it, rule).err(), stayed_up(&it, &it).err()] {
            let said =
                doubt.map_or(String::new(), |doubt| doubt.failure("todo.service").one_line());
            harmless(&said);
        }
    }
    harmless(&format!("{:?}", answer::probe(&text).sudo.refusal("restart todo.service")));
    assert!(answer::compared(&text, b"").drift.is_sorted() || text.contains("special"));
}

fn decides(state: &HostState) {
    let here = |id: &ReleaseId| state.present.contains(&id.to_string());
    assert!(rollback_candidates(state).iter().all(|id| here(id) && state.live() != Some(*id)));
    let gone = to_prune(state, PruneRule { keep: 1, older_than: None });
    let ancient = PruneRule { keep: 1, older_than: Some(chrono::TimeDelta::days(99_000_000)) };
    assert_eq!(to_prune(state, ancient), [""; 0], "nothing is as old as that");
    assert!(gone.iter().all(|name| state.present.contains(name)), "{gone:?}");
    assert!(state.live().is_none_or(|live| !gone.contains(&live.to_string())), "{gone:?}");
    let in_use = state.perhaps_in_use();
    assert!(in_use.iter().all(|id| !gone.contains(&id.to_string())), "{gone:?}");
    assert!(gone.iter().all(|name| !state.in_use.contains(name)), "{gone:?}");
    let newest = state.newest(chrono::DateTime::<chrono::Utc>::MAX_UTC);
    let next = ReleaseId::after(newest, state.facts.clock);
    assert_eq!(next.to_string().parse(), Ok(next));
    let last = "99991231235959".parse().unwrap();
    assert!(newest.is_none_or(|newest| newest < next || next == last));
    assert_eq!(state.assuming(next, &[LedgerEvent::Committed]).live(), Some(next));
    assert_eq!(find_split(&[("web", state)]), None, "one host is no fleet");
}

fn shows(hosts: &[(String, HostState)]) {
    let offset = FixedOffset::west_opt(3600).unwrap();
    let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    let context = StatusContext { stage: "prod", now, offset };
    harmless(&status_view(hosts, context, &Styles::plain()));
    harmless(&status_json(hosts, context).to_string());
    harmless(&releases_table(hosts, context, &narrow()));
    harmless(&releases_json(hosts).to_string());
    harmless(&holders(hosts, offset));
}

/// A stream of bytes gives the same frames however it is cut, free of control characters.
/// The first byte says how it is cut.
pub fn frames(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let feed = |pieces: &mut dyn Iterator<Item = &[u8]>| -> (Vec<Frame>, bool) {
        let (mut frames, mut found) = (Frames::new("run1"), Vec::new());
        for piece in pieces {
            match frames.feed(piece) {
                Ok(more) => found.extend(more),
                Err(_) => return (found, false),
            }
            assert!(frames.noise().len() <= 3 * 2048);
        }
        (found, true)
    };
    let (whole, well) = feed(&mut std::iter::once(rest));
    let (cut, cut_well) = feed(&mut rest.chunks(usize::from(*first).max(1)));
    assert_eq!(well, cut_well);
    assert!(cut == whole || !well, "{cut:?}\n{whole:?}");
    let obeyed = |c: char| c.is_control() && !"\n\t".contains(c);
    let text = |frame: &Frame| match frame {
        Frame::Said(said) => said.text.clone(),
        Frame::Response(answer) => answer.text.clone(),
    };
    assert!(!cut.iter().any(|frame| text(frame).contains(obeyed)), "{cut:?}");
}
