//! Rules that hold for the whole tree: who may use whom, what only one place may do, and that the
//! documents say what the program does. Each is a test, so that none erodes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use walkdir::WalkDir;

/// A line of source that is neither a comment nor in the test module at the end of its file.
struct Line {
    file: String,
    number: usize,
    text: String,
}

/// The floor that each top-level module lives on; one may use those below it, never one beside
/// it or above.
const FLOORS: [(&str, u8); 9] = [
    ("model", 0),
    ("remote", 1),
    ("config", 1),
    ("deploy", 2),
    ("ssh", 2),
    ("artifact", 2),
    ("cache", 2),
    ("report", 3),
    ("cli", 4),
];

/// Modules whose submodules do not use each other in circles.
const WITHOUT_CIRCLES: [&str; 8] =
    ["artifact", "cache", "cli", "config", "deploy", "model", "remote", "report"];

/// Uses between neighbours of one floor that are part of the design.
const NEIGHBOURS: [(&str, &str); 3] =
    [("deploy", "artifact"), ("cache", "artifact"), ("deploy", "cache")];

/// A word, the only files in which it may stand (by how their path begins), and why.
const ONLY_IN: [(&str, &[&str], &str); 17] = [
    ("process::exit", &[], "only main ends the process, by returning"),
    ("todo!(", &[], "unfinished code is not committed"),
    ("unimplemented!(", &[], "unfinished code is not committed"),
    ("dbg!(", &[], "unfinished code is not committed"),
    ("#[allow(", &[], "a lint is answered with #[expect(…, reason = …)]"),
    ("println!(", &["src/report/", "src/cli/"], "only report and cli print"),
    ("eprintln!(", &["src/report/", "src/cli/"], "only report and cli print"),
    ("print!(", &["src/report/", "src/cli/"], "only report and cli print"),
    ("io::stdout()", &["src/report/", "src/cli/"], "only report and cli print"),
    ("io::stderr()", &["src/report/", "src/cli/"], "only report and cli print"),
    ("Utc::now", &["src/cli/"], "the core is told what time it is"),
    ("Local::now", &["src/cli/"], "the core is told what time it is"),
    ("SystemTime::now", &["src/cli/"], "the core is told what time it is"),
    ("env::var", &["src/cli/"], "the core is told what it needs of the environment"),
    ("env::home_dir", &["src/cli/"], "the core is told what it needs of the environment"),
    ("signal::unix", &["src/cli/"], "only cli knows of signals"),
    ("signal::ctrl_c", &["src/cli/"], "only cli knows of signals"),
];

/// A module, a word that it never says, and why.
const NEVER_IN: [(&str, &str, &str); 12] = [
    ("src/model/", "async ", "the model does not wait"),
    ("src/model/", "std::fs", "the model does no I/O"),
    ("src/model/", "tokio", "the model does no I/O"),
    ("src/deploy/", "russh", "what is done does not depend on how hosts are reached"),
    ("src/deploy/", "clap", "what is done does not depend on who asks"),
    ("src/deploy/", "console::", "what is done does not depend on how it is shown"),
    ("src/deploy/", "console", "what is done does not depend on how it is shown"),
    ("src/ssh/", "ReleaseId", "ssh carries bytes, whatever they mean"),
    ("src/ssh/", "releases/", "ssh carries bytes, whatever they mean"),
    ("src/config/", "russh", "configuration is values"),
    ("src/artifact/", "russh", "artifacts are local"),
    ("src/report/", "russh", "reports are text"),
];

/// Functions in tests may be longer than this, for a story is read from top to bottom.
const LONGEST: usize = 60;

fn rust_files(root: &str) -> Vec<(String, String)> {
    let files = WalkDir::new(root).sort_by_file_name().into_iter().map(Result::unwrap);
    files
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| (path.to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

/// Nouns that are counted in messages.
const COUNTED: [&str; 16] = [
    "bytes",
    "characters",
    "entries",
    "files",
    "hosts",
    "inodes",
    "keys",
    "lines",
    "links",
    "releases",
    "steps",
    "times",
    "tries",
    "values",
    "variables",
    "warnings",
];

/// A number that is put before a plural may be 1. Limits are not: `more than {most} files`.
#[test]
fn nouns_after_a_number_are_counted_by_one_function() {
    let mut broken = Vec::new();
    for line in lines().iter().filter(|line| line.file != "src/model/words.rs") {
        for (at, _) in line.text.match_indices("} ") {
            let next = line.text[at + 2..].trim_start_matches("more ");
            let noun = next.split(not_in_a_name).next().unwrap_or_default();
            let before = line.text[..at].rsplit_once('{').map_or("", |(before, _)| before);
            if COUNTED.contains(&noun) && !before.ends_with("than ") {
                broken.push(format!("{}:{}: {}", line.file, line.number, line.text.trim()));
            }
        }
    }
    none("`count` and `times` of model/words.rs say it of one as well", &broken);
}

/// All lines of the program that could break a rule.
fn lines() -> Vec<Line> {
    let mut all = Vec::new();
    for (file, text) in rust_files("src") {
        let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").enumerate();
        all.extend(
            code.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(at, line)| Line {
                file: file.clone(),
                number: at + 1,
                text: line.to_owned(),
            }),
        );
    }
    all
}

/// The top-level module that a file belongs to; `None` for `lib.rs` and `main.rs`.
fn module(file: &str) -> Option<&str> {
    let name = file.strip_prefix("src/")?.split(['/', '.']).next()?;
    FLOORS.iter().find(|(module, _)| *module == name).map(|(module, _)| *module)
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// The top-level modules that a line names by `crate::`, also in a group.
fn named(text: &str) -> Vec<&str> {
    named_after("crate::", text)
}

/// The names that follow `path` in a line, also in a group.
fn named_after<'t>(path: &str, text: &'t str) -> Vec<&'t str> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices(path) {
        if text[..at].ends_with(':') {
            continue;
        }
        let rest = &text[at + path.len()..];
        let (list, many) = rest.strip_prefix('{').map_or((rest, 1), |list| (list, usize::MAX));
        let parts = list.split('}').next().unwrap().split(", ").take(many);
        names.extend(parts.filter_map(|part| part.split(not_in_a_name).next()));
    }
    names
}

fn not_in_a_name(c: char) -> bool {
    !c.is_alphanumeric() && c != '_'
}

#[track_caller]
fn none(what: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{what}:\n{}", broken.join("\n"));
}

#[test]
fn every_module_stays_on_its_floor() {
    let mut broken = Vec::new();
    for line in lines() {
        let Some(user) = module(&line.file) else { continue };
        for used in named(&line.text) {
            let Some(floor_used) = floor(used) else { continue };
            let fine = used == user
                || floor(user).unwrap() > floor_used
                || NEIGHBOURS.contains(&(user, used));
            if !fine {
                broken.push(format!("{}:{}: {user} uses {used}", line.file, line.number));
            }
        }
    }
    none("a module may use only floors below its own", &broken);
}

/// The modules of `deploy`: each uses only those before it.
const ORDER_IN_DEPLOY: [&str; 32] = [
    "cancel",
    "outcome",
    "order_text",
    "event",
    "run",
    "source",
    "goal",
    "retention",
    "divergence",
    "plan",
    "context",
    "local_hook",
    "pool",
    "conversation",
    "query",
    "stream",
    "health",
    "judge",
    "verify",
    "pin",
    "delta",
    "env_diff",
    "payload",
    "promote",
    "host",
    "prepare",
    "hosts",
    "locks",
    "rollout",
    "fleet",
    "check",
    "setup",
];

/// The modules of `ssh`: each uses only those before it.
const ORDER_IN_SSH: [&str; 27] = [
    "text",
    "target",
    "key_text",
    "given",
    "expand",
    "algorithms",
    "options",
    "ssh_config",
    "known_hosts",
    "host_key",
    "client",
    "pace",
    "exec",
    "tunnel",
    "auth",
    "proxy_command",
    "connection",
    "jump",
    "socket",
    "mux",
    "mux_exec",
    "openssh_words",
    "master",
    "connect",
    "session",
    "openssh",
    "embedded",
];

#[test]
fn modules_of_deploy_and_ssh_keep_their_order() {
    let mut broken = out_of_order("deploy", &ORDER_IN_DEPLOY);
    broken.extend(out_of_order("ssh", &ORDER_IN_SSH));
    none("a module of deploy or ssh uses only those before it", &broken);
}

/// Returns the uses of modules inside `parent` that `order` does not allow.
fn out_of_order(parent: &str, order: &[&str]) -> Vec<String> {
    let directory = format!("src/{parent}/");
    let place = |name: &str| order.iter().position(|known| *known == name);
    let mut broken = Vec::new();
    for line in lines().iter().filter(|line| line.file.starts_with(&directory)) {
        let inside = &line.file[directory.len()..];
        let Some(user) = inside.split(['/', '.']).next().filter(|user| *user != "mod") else {
            continue;
        };
        let Some(user_place) = place(user) else {
            broken.push(format!("{}: {user} has no place", line.file));
            continue;
        };
        let nested = inside.contains('/') && !inside.ends_with("/mod.rs");
        let way = if nested { "super::super::" } else { "super::" };
        let from_root = format!("crate::{parent}::");
        for used in [way, &from_root].into_iter().flat_map(|way| named_after(way, &line.text)) {
            if place(used).is_some_and(|place| place >= user_place) && used != user {
                broken.push(format!("{}:{}: {user} uses {used}", line.file, line.number));
            }
        }
    }
    broken
}

#[test]
fn named_modules_in_groups_are_found() {
    assert_eq!(named("use crate::{model::id, ssh};"), ["model", "ssh"]);
    assert_eq!(named("let x = crate::remote::quote::word(y);"), ["remote"]);
}

/// For each submodule of `top`, the others that it names.
fn submodule_uses(top: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines() {
        let Some(path) = line.file.strip_prefix(&format!("src/{top}/")) else { continue };
        let parts: Vec<_> =
            path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect();
        let above = "super::".repeat(parts.len());
        let names = named_after(&above, &line.text);
        let names = names.into_iter().chain(named_after(&format!("crate::{top}::"), &line.text));
        let own = uses.entry(parts[0].to_owned()).or_default();
        own.extend(names.filter(|name| *name != parts[0]).map(ToOwned::to_owned));
    }
    uses.remove("mod");
    let all: BTreeSet<_> = uses.keys().cloned().collect();
    for used in uses.values_mut() {
        used.retain(|name| all.contains(name));
    }
    uses
}

/// The submodules that cannot be put in an order in which each names only those before it.
fn in_circles(mut uses: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    loop {
        let left: BTreeSet<_> = uses.keys().cloned().collect();
        for names in uses.values_mut() {
            names.retain(|name| left.contains(name));
        }
        uses.retain(|_, names| !names.is_empty());
        if uses.len() == left.len() {
            let names = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
            let shown = uses.into_iter().map(|(user, used)| format!("{user} uses {}", names(used)));
            return shown.collect();
        }
    }
}

#[test]
fn submodules_do_not_use_each_other_in_circles() {
    for top in WITHOUT_CIRCLES {
        assert!(submodule_uses(top).len() > 2, "{top}: no submodules were found");
        none(&format!("{top}: these use each other in a circle"), &in_circles(submodule_uses(top)));
    }
}

#[test]
fn circles_are_found() {
    let uses = |all: &[(&str, &[&str])]| {
        let set = |used: &[&str]| used.iter().map(|name| (*name).to_owned()).collect();
        in_circles(all.iter().map(|(name, used)| ((*name).to_owned(), set(used))).collect())
    };
    assert!(uses(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]).is_empty());
    assert_eq!(
        uses(&[("a", &["b"]), ("b", &["c"]), ("c", &["b", "d"]), ("d", &[])]),
        ["a uses b", "b uses c", "c uses b"]
    );
}

#[test]
fn some_words_stand_in_one_place_only() {
    let mut broken = Vec::new();
    for line in lines() {
        for (word, places, why) in ONLY_IN {
            let whole = line.text.match_indices(word).any(|(at, _)| {
                !line.text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
            });
            if whole && !places.iter().any(|place| line.file.starts_with(place)) {
                broken.push(format!("{}:{}: {word}: {why}", line.file, line.number));
            }
        }
    }
    none("these stand where they may not", &broken);
}

#[test]
fn some_modules_avoid_some_words() {
    let mut broken = Vec::new();
    for line in lines() {
        for (place, word, why) in NEVER_IN {
            if line.file.starts_with(place) && line.text.contains(word) {
                broken.push(format!("{}:{}: {word}: {why}", line.file, line.number));
            }
        }
    }
    none("these stand where they may not", &broken);
}

/// Paths on hosts are made by the model's layout and by the agent script, nowhere else.
#[test]
fn paths_on_hosts_are_made_in_one_file() {
    let mut broken = Vec::new();
    for line in lines() {
        let made = ["/releases/", "/shared/", "/.shipit/", "/current\""];
        let formats = line.text.contains("format!(") || line.text.contains("push_str(");
        if formats
            && made.iter().any(|part| line.text.contains(part))
            && line.file != "src/model/layout.rs"
        {
            broken.push(format!("{}:{}: {}", line.file, line.number, line.text.trim()));
        }
    }
    none("only src/model/layout.rs makes paths on hosts", &broken);
}

/// `'\''` and its kin are how one quotes for a shell; only one file may. The redactor knows them
/// too, for it must find a secret again that was quoted.
#[test]
fn only_one_file_quotes() {
    let escapes = [r"'\\''", r#"'"'"'"#, r#"r"'\''""#];
    let quoting = |line: &Line| escapes.iter().any(|escape| line.text.contains(escape));
    let may = ["src/remote/quote.rs", "src/report/redact.rs"];
    let elsewhere = lines().into_iter().filter(|line| !may.contains(&line.file.as_str()));
    let broken: Vec<_> =
        elsewhere.filter(quoting).map(|line| format!("{}:{}", line.file, line.number)).collect();
    none("only src/remote/quote.rs quotes for a shell", &broken);
}

#[test]
fn every_file_says_what_it_is() {
    let files = rust_files("src").into_iter().chain(rust_files("tests"));
    let broken: Vec<_> =
        files.filter(|(_, text)| !text.starts_with("//! ")).map(|(file, _)| file).collect();
    none("every file begins with a `//!` line", &broken);
}

/// All helpers are in one folder, where the author of a test finds them.
#[test]
fn tests_share_only_what_is_in_support() {
    let mut broken = Vec::new();
    for (file, text) in rust_files("tests/it") {
        let own = ["tests/it/support/", "tests/it/agent/"].iter().any(|dir| file.starts_with(dir));
        let lines = text.lines().enumerate().filter(|(_, line)| line.starts_with("use "));
        broken.extend(
            lines
                .filter(|(_, line)| line.contains("super::") || line.contains("crate::"))
                .filter(|(_, line)| !own && !line.starts_with("use crate::support::"))
                .map(|(at, line)| format!("{file}:{}: {line}", at + 1)),
        );
    }
    none("tests take helpers from tests/it/support only", &broken);
}

/// A name says what is tried, under which condition, and what comes of it.
#[test]
fn names_of_tests_fit_a_line() {
    let mut broken = Vec::new();
    for (file, text) in rust_files("tests") {
        let named =
            text.split("test]\n").skip(1).filter_map(|rest| function_name(rest.lines().next()?));
        broken.extend(named.filter(|name| name.len() > 70).map(|name| format!("{file}: {name}")));
    }
    broken.retain(|name| !name.starts_with("tests/it/agent"));
    none("names of tests have at most 70 characters", &broken);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut broken = Vec::new();
    for (file, text) in rust_files("src") {
        for (name, length) in functions(&text) {
            if length > LONGEST {
                broken.push(format!("{file}: {name} has {length} lines"));
            }
        }
    }
    none(&format!("no function is longer than {LONGEST} lines"), &broken);
}

/// Name and length of each function of a formatted file: from `fn` to the brace that stands as
/// far in as it does.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let head = lines[at..].iter().find(|line| line.ends_with(['{', '}', ';']));
        if head.is_none_or(|line| line.ends_with(';')) {
            continue; // Declared in a trait, without a body.
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = lines[at..].iter().position(|line| {
            line.strip_prefix(indent)
                .is_some_and(|rest| rest == "}" || rest.starts_with("fn ") && rest.ends_with('}'))
        });
        found.push((name.to_owned(), end.unwrap_or(0) + 1));
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let words = ["pub(crate) ", "pub(super) ", "pub ", "const ", "async "];
    let mut rest = line.trim_start();
    while let Some(shorter) = words.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = shorter;
    }
    rest.strip_prefix("fn ")?
        .split(['(', '<'])
        .next()
        .filter(|_| !line.trim_end().ends_with(['}', ';']))
}

#[test]
fn lengths_of_functions_are_measured() {
    let text = "trait T {\n    fn none<'a>(\n        a: &'a u8,\n    ) -> u8;\n}\nfn one() {}\nimpl A {\n    pub async fn two(\n        a: u8,\n    ) -> u8 {\n        a\n    }\n}\n";
    assert_eq!(functions(text), [("two".to_owned(), 5)]);
}

/// The numbers that the functions called `exit_code` return.
fn exit_codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for (_, text) in rust_files("src") {
        for body in text.split("fn exit_code(").skip(1) {
            let lines = body.lines().take_while(|line| *line != "    }");
            let results = lines.filter_map(|line| line.split("=> ").nth(1)?.strip_suffix(','));
            codes.extend(results.map(str::to_owned));
        }
    }
    codes
}

#[test]
fn readme_lists_every_exit_code() {
    let readme = fs::read_to_string("README.md").unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let listed = rows.map(|(code, _)| code).filter(|code| code.parse::<u8>().is_ok());
    assert_eq!(listed.map(str::to_owned).collect::<BTreeSet<_>>(), exit_codes());
}

/// Relative links of the documents lead somewhere.
#[test]
fn links_between_documents_work() {
    let mut broken = Vec::new();
    for file in documents() {
        let text = fs::read_to_string(&file).unwrap();
        let folder = Path::new(&file).parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                broken.push(format!("{file}: {link}"));
            }
        }
    }
    none("these links lead nowhere", &broken);
}

fn documents() -> Vec<String> {
    let files = WalkDir::new("docs").into_iter().chain(WalkDir::new(".").max_depth(1));
    files
        .filter_map(Result::ok)
        .map(|entry| entry.path().to_str().unwrap().to_owned())
        .filter(|path| Path::new(path).extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// Each row of "What travels" names constants that its files have.
#[test]
fn limits_in_the_architecture_are_in_the_code() {
    let text = fs::read_to_string("docs/architecture.md").unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(" | ").collect()).collect();
    let mut broken = Vec::new();
    let limits = rows.iter().filter(|row| row.len() == 4 && row[3].contains("src/"));
    let mut count = 0;
    for row in limits {
        count += 1;
        let files = row[3].trim_end_matches(" |").split(", ");
        let text: String = files.map(|file| fs::read_to_string(file).unwrap_or_default()).collect();
        for name in row[2].split(", ").map(|name| name.trim_matches('`')) {
            if !text.contains(&format!("const {name}:")) {
                broken.push(format!("{name} of {}", row[3]));
            }
        }
    }
    assert!(count > 15, "only {count} rows were found");
    none("docs/architecture.md names constants that are not there", &broken);
}

/// Every action of every workflow is pinned by its commit.
#[test]
fn actions_are_pinned_by_commit() {
    let files = WalkDir::new(".github/workflows").into_iter().filter_map(Result::ok);
    let files = files.filter(|entry| entry.file_type().is_file());
    let texts: Vec<_> = files.map(|it| fs::read_to_string(it.path()).unwrap()).collect();
    assert!(texts.len() > 1);
    let text = texts.join("\n");
    let pinned = |line: &str| {
        let commit = line.split('@').nth(1).and_then(|rest| rest.split_whitespace().next());
        commit.is_some_and(|commit| {
            commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit())
        })
    };
    let uses =
        text.lines().filter(|line| line.trim_start().trim_start_matches("- ").starts_with("uses:"));
    let broken: Vec<_> = uses.filter(|line| !pinned(line)).map(str::to_owned).collect();
    none("these actions are not pinned by a commit", &broken);
}

/// Names that each module must choose alike: associated types of traits of std and serde.
const TRAIT_TYPES: [&str; 3] = ["Err", "Error", "Value"];

#[test]
fn type_names_are_unique() {
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines() {
        let words: Vec<_> =
            line.text.split(not_in_a_name).filter(|word| !word.is_empty()).collect();
        let declares = |word: &&str| ["struct", "enum", "trait", "type"].contains(word);
        let at = words.iter().position(declares).filter(|at| {
            words[..*at].iter().all(|word| ["pub", "crate", "super", "in"].contains(word))
        });
        let Some(name) = at.and_then(|at| words.get(at + 1)) else { continue };
        if !TRAIT_TYPES.contains(name) {
            let place = format!("{}:{}", line.file, line.number);
            homes.entry((*name).to_owned()).or_default().push(place);
        }
    }
    assert!(homes.len() > 200, "only {} types were found", homes.len());
    homes.retain(|_, places| places.len() > 1);
    let broken: Vec<_> =
        homes.iter().map(|(name, places)| format!("{name}: {}", places.join(", "))).collect();
    none("these names stand for several types", &broken);
}

/// Fields and variants need words only where their names do not say it.
#[test]
fn public_types_and_functions_are_documented() {
    let declares =
        ["pub fn ", "pub async fn ", "pub const fn ", "pub struct ", "pub enum ", "pub trait "];
    let mut broken = Vec::new();
    for (file, text) in rust_files("src") {
        let lines: Vec<_> = text.lines().map(str::trim_start).collect();
        for (at, line) in lines.iter().enumerate() {
            let before = lines[..at].iter().rev().find(|line| !line.starts_with("#["));
            let documented = before.is_some_and(|line| line.starts_with("///"));
            if declares.iter().any(|word| line.starts_with(word)) && !documented {
                broken.push(format!("{file}:{}: {line}", at + 1));
            }
        }
    }
    none("these public items say nothing of what they are", &broken);
}

/// Words that something else is called by now, each with what to say for it.
const RETIRED: [(&str, &str); 49] = [
    ("attic", "cache"),
    ("cabinet", "cache"),
    ("shelf", "cache"),
    ("shelves", "cache"),
    ("parcel", "inline upload"),
    ("parcels", "inline upload"),
    ("bundle", "package"),
    ("bundles", "packages"),
    ("ward", "channel"),
    ("wards", "channels"),
    ("deed", "operation"),
    ("deeds", "operations"),
    ("detour", "round trip through the host"),
    ("detours", "round trips through the host"),
    ("board", "progress"),
    ("boards", "progress"),
    ("put back", "revert"),
    ("puts back", "revert"),
    ("putting back", "revert"),
    ("take back", "revert"),
    ("takes back", "revert"),
    ("taken back", "revert"),
    ("taking back", "revert"),
    ("took back", "revert"),
    ("go back", "revert, or roll back"),
    ("goes back", "revert, or roll back"),
    ("gone back", "revert, or roll back"),
    ("went back", "revert, or roll back"),
    ("freeze", "deploy lock"),
    ("freezes", "deploy lock"),
    ("frozen", "deploy lock"),
    ("thaw", "deploy lock"),
    ("adopt", "recover"),
    ("adopted", "recover"),
    ("settle", "recover"),
    ("settles", "recover"),
    ("settled", "recover"),
    ("sweep", "clean up"),
    ("sweeps", "clean up"),
    ("swept", "clean up"),
    ("lets go", "releases"),
    ("holds off", "blocks"),
    ("all the same", "nevertheless"),
    ("as ever", "as usual"),
    ("needs hands", "needs attention"),
    ("weave", "patch"),
    ("spares", "saves"),
    ("old self", "old version"),
    ("old selves", "old versions"),
];

/// Uses of retired words that stay: the start of the path, a part of the line, and the reason.
const KEPT: [(&str, &str, &str); 33] = [
    ("docs/recipes/rails/", "bundle", "a program for Ruby"),
    ("src/config/start/kinds/r", "bundle", "a program of Ruby"),
    ("src/config/start/kinds/r", "BUNDLE_", "variables of that program"),
    ("tests/it/cli/init.rs", "bundle exec", "a program of Ruby"),
    ("src/model/host_state.rs", "\"frozen by \"", "lock records on hosts begin so"),
    ("src/remote/agent/20-lock.sh", "'frozen by %s", "lock records on hosts begin so"),
    ("tests/it/agent/after.rs", "\"frozen by ben", "lock records on hosts begin so"),
    ("docs/", "`frozen by", "lock records on hosts begin so"),
    ("src/remote/agent/10-serve.sh", ".shipit/frozen", "a file that hosts hold"),
    ("tests/it/", "/frozen\")", "a file that hosts hold"),
    ("tests/it/agent/owners.rs", "\"frozen\", \"run\"", "a file that hosts hold"),
    ("docs/remote-layout.md", "frozen", "a file that hosts hold"),
    ("src/report/status.rs", "\"frozen\": ", "a name in JSON"),
    ("docs/json.md", "`frozen`", "a name in JSON"),
    ("docs/output.schema.json", "\"frozen\"", "a name in JSON"),
    ("docs/output.schema.json", "\"deeds\"", "a name in JSON"),
    ("tests/it/messages/views.rs", "\"frozen\": null", "a name in JSON"),
    ("", "put-back", "a name in JSON"),
    ("", "putting-back", "a name in JSON"),
    ("", "needs-hands", "a name in JSON"),
    ("src/report/history.rs", "\"deeds\"", "a name in JSON"),
    ("docs/json.md", "`deeds`", "a name in JSON"),
    ("tests/it/messages/after.rs", "[\"deeds\"]", "a name in JSON"),
    ("", "\"settle\"", "a step and a kind of operation in JSON"),
    ("src/model/operations.rs", "\"a settle 1 reverted\"", "a kind of operation in JSON"),
    ("docs/json.md", "`settle`", "a kind of operation in JSON"),
    ("", "\"sweep\"", "a step in JSON, and its request"),
    ("", "`sweep`", "a step in JSON, and its request"),
    ("", "order_sweep", "a step in JSON, and its request"),
    ("tests/it/agent.rs", "'sweep'", "a step in JSON, and its request"),
    ("src/model/ledger.rs", "\"found taken back\"", "a reason in ledgers"),
    ("src/model/ledger.rs", "const AS_BEFORE", "a reason in ledgers"),
    ("src/", ".freeze())", "a function of the crate bytes"),
];

/// Returns the words of a text in lower case, each with the number of its line. A name in camel
/// case is several words.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words = vec![(0, String::new())];
    for (at, line) in text.lines().enumerate() {
        let mut before = ' ';
        for c in line.chars().chain([' ']) {
            let begins = before.is_lowercase() && c.is_uppercase();
            if (begins || !c.is_alphanumeric()) && words.last().is_some_and(|it| !it.1.is_empty()) {
                words.push((0, String::new()));
            }
            if let Some((number, word)) = words.last_mut().filter(|_| c.is_alphanumeric()) {
                *number = at + 1;
                word.extend(c.to_lowercase());
            }
            before = c;
        }
    }
    words
}

/// All texts of the project that people read, with the path of each.
fn texts() -> Vec<(String, String)> {
    let files =
        ["src", "tests", "docs", "README.md", "CHANGELOG.md"].into_iter().flat_map(WalkDir::new);
    files
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().to_str().unwrap().to_owned())
        .filter(|path| path != "tests/it/tidy.rs")
        .filter_map(|path| Some((path.clone(), fs::read_to_string(&path).ok()?)))
        .collect()
}

#[test]
fn retired_words_stay_away() {
    let mut broken = Vec::new();
    let mut used = BTreeSet::new();
    for (file, text) in texts() {
        let lines: Vec<_> = text.lines().collect();
        let words = words(&text);
        for (at, (number, _)) in words.iter().enumerate() {
            let is_here = |retired: &str| {
                let mut here = words[at..].iter().map(|(_, word)| word.as_str());
                retired.split(' ').all(|part| here.next() == Some(part))
            };
            let found = RETIRED.iter().find(|(retired, _)| is_here(retired));
            let Some((retired, now)) = found else { continue };
            let line = lines[number - 1];
            let kept = KEPT
                .iter()
                .position(|(path, part, _)| file.starts_with(path) && line.contains(part));
            match kept {
                Some(kept) => _ = used.insert(kept),
                None => broken.push(format!("{file}:{number}: {retired}: say {now}")),
            }
        }
    }
    none("these words are retired", &broken);
    let unused = KEPT.iter().enumerate().filter(|(at, _)| !used.contains(at));
    let unused: Vec<_> = unused.map(|(_, (file, part, _))| format!("{file}: {part}")).collect();
    none("nothing is kept here any more", &unused);
}

#[test]
fn words_are_found_in_names_and_across_lines() {
    let found = |text: &str| words(text).into_iter().map(|(_, word)| word).collect::<Vec<_>>();
    assert_eq!(
        found("fn take_back(OldSelf)\n// it goes\n// back")[..5],
        ["fn", "take", "back", "old", "self"]
    );
    assert_eq!(words("a\n// b")[1], (2, "b".to_owned()));
}

/// The glossary is short enough to be learnt, and none of its words is only in the glossary.
#[test]
fn glossary_names_what_the_source_names() {
    let glossary = fs::read_to_string("docs/glossary.md").unwrap();
    let rows = glossary.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let listed: Vec<_> = rows.map(|(word, _)| word).filter(|word| *word != "word").collect();
    assert!((20..=40).contains(&listed.len()), "{} words", listed.len());
    let source = texts().into_iter().filter(|(file, _)| file.starts_with("src/"));
    let source =
        source.flat_map(|(_, text)| words(&text)).map(|(_, word)| word).collect::<Vec<_>>();
    let source = format!(" {} ", source.join(" "));
    let broken: Vec<_> = listed
        .iter()
        .filter(|word| !source.contains(&format!(" {word} ")))
        .map(|word| (*word).to_owned())
        .collect();
    none("the source has another name for these, or does without", &broken);
}

/// Tables, code and lines that are mostly an address are as wide as they must be.
#[test]
fn prose_has_at_most_100_columns() {
    let mut broken = Vec::new();
    for (file, text) in texts().into_iter().chain(rust_files("benches/src")) {
        let mark = match file.rsplit_once('.') {
            Some((_, "rs")) => "//",
            Some((_, "sh")) => "#",
            _ => continue,
        };
        let comments = text.lines().enumerate().filter_map(|(at, line)| {
            let words = line.trim_start().strip_prefix(mark)?;
            (!words.contains("| ") && line.chars().count() > 100).then_some(at + 1)
        });
        broken.extend(comments.map(|number| format!("{file}:{number}")));
    }
    for file in documents() {
        let text = fs::read_to_string(&file).unwrap();
        let mut code = false;
        for (at, line) in text.lines().enumerate() {
            code ^= line.trim_start().starts_with("```");
            let free = code || line.starts_with('|') || line.contains("](");
            if !free && line.chars().count() > 100 {
                broken.push(format!("{file}:{}", at + 1));
            }
        }
    }
    none("these lines are too long", &broken);
}
