//! The book in docs: each page is in its list, each link leads to a heading, and the references are
//! what the program says. `SHIPIT_WRITE_BOOK=1 cargo test --test book` writes these anew. It links
//! nothing of the program, so that it is built in seconds.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Map, Value};
use walkdir::WalkDir;

/// Returns what the program prints.
fn said(line: &str) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_shipit"));
    let output = program.args(line.split(' ')).env_clear().output().unwrap();
    assert!(output.status.success(), "{line}");
    String::from_utf8(output.stdout).unwrap()
}

/// A reference is what the program says now.
#[track_caller]
fn is_current(file: &str, text: &str) {
    if std::env::var_os("SHIPIT_WRITE_BOOK").is_some() {
        fs::write(file, text).unwrap();
    }
    let current = fs::read_to_string(file).unwrap_or_default() == text;
    assert!(current, "{file} is stale: `SHIPIT_WRITE_BOOK=1 cargo test --test book` writes it");
}

/// Returns the paragraphs of a help, those of flags in `common` left out.
fn without(common: &[String], help: &str) -> String {
    let mut text = String::new();
    let mut left_out = false;
    for line in help.lines() {
        let begins = line.trim_start().starts_with('-') && line.find('-') < Some(7);
        left_out = if begins {
            common.contains(&flag_of(line))
        } else {
            left_out && line.starts_with("          ")
        };
        if !left_out {
            let _ = writeln!(text, "{line}");
        }
    }
    let text = text.replace("Options:\n\n", "");
    text.trim_end().trim_end_matches("Options:").trim_end().to_owned()
}

/// Returns the long flag of a line such as `  -y, --yes   Do not ask`.
fn flag_of(line: &str) -> String {
    let flag = line.split_whitespace().find(|word| word.starts_with("--"));
    flag.unwrap_or(line).to_owned()
}

#[test]
fn reference_of_commands_is_what_help_says() {
    let top = said("help");
    let (before, commands) = top.split_once("Commands:\n").unwrap();
    let (commands, after) = commands.split_once("\n\n").unwrap();
    let options = after.split("\n\n").next().unwrap();
    let common: Vec<_> = options.lines().filter(|line| line.contains("--")).map(flag_of).collect();
    assert!(common.len() > 8 && before.contains("Usage"), "{common:?}");
    let mut text = format!(
        "# Every command\n\nThis page is made of what `shipit help` says; a test holds that.\n\n\
         ## Every command has\n\n```text\n{options}\n```\n\n## Exit codes\n\n```text\n{}\n```\n\n\
         ## Variables\n\n```text\n{}\n```\n",
        said("help exit-codes").trim_end(),
        said("help env").trim_end()
    );
    let names = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| !line.starts_with(' '));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let with_inner = |name| if name == "env" { vec![name, "env diff"] } else { vec![name] };
    for name in names.flat_map(with_inner) {
        // `shipit help env` explains the variables.
        let help = without(&common, &said(&format!("{name} -h")));
        let _ = write!(text, "\n## shipit {name}\n\n```text\n{help}\n```\n");
    }
    is_current("docs/reference/commands.md", &text);
}

/// The rows of a table of keys.
#[derive(Default)]
struct Keys {
    rows: BTreeMap<String, String>,
}

impl Keys {
    /// Adds the row of a key, and those of the keys in it.
    fn add(&mut self, key: &str, schema: &Value) {
        let mut inner = Vec::new();
        let value = value_of(schema, &mut inner);
        let words = schema["description"].as_str().unwrap_or_default();
        let row = format!("| `{key}` | {value} | {words} |").replace(" |  |", " | |");
        self.rows.entry(key.to_owned()).or_insert(row);
        for (name, schema) in inner {
            self.add(&format!("{key}.{name}"), schema);
        }
    }
}

/// Returns what a value may be. Keys of a table that are explained go to `inner`.
fn value_of<'s>(schema: &'s Value, inner: &mut Vec<(String, &'s Value)>) -> String {
    if let Some(forms) = schema["anyOf"].as_array() {
        let short = forms.iter().any(|form| form["type"] == "string");
        let words = forms.iter().map(|form| match form["properties"].as_object() {
            Some(keys) if short => names(keys),
            _ => value_of(form, inner),
        });
        let mut words: Vec<_> = words.collect();
        words.dedup();
        return words.join(", or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    match schema["type"].as_str() {
        Some("string") => "text".to_owned(),
        Some("integer") => "number".to_owned(),
        Some("boolean") => "true, false".to_owned(),
        Some("array") => format!("a list of: {}", value_of(&schema["items"], inner)),
        Some("object") => table(schema, inner),
        _ => "a stage".to_owned(),
    }
}

fn table<'s>(schema: &'s Value, inner: &mut Vec<(String, &'s Value)>) -> String {
    let Some(keys) = schema["properties"].as_object() else {
        let mut below = Vec::new();
        let value = value_of(&schema["additionalProperties"], &mut below);
        inner.extend(below.into_iter().map(|(key, schema)| (format!("NAME.{key}"), schema)));
        return format!("a table, each value: {value}");
    };
    if keys.values().any(|value| value["description"].is_string()) {
        inner.extend(keys.iter().map(|(key, value)| (key.clone(), value)));
        return "a table".to_owned();
    }
    names(keys)
}

fn names(keys: &Map<String, Value>) -> String {
    format!("`{{ {} }}`", keys.keys().cloned().collect::<Vec<_>>().join(", "))
}

#[test]
fn reference_of_keys_is_the_schema() {
    let schema: Value = serde_json::from_str(&said("schema")).unwrap();
    let stage = &schema["definitions"]["stage"]["properties"];
    let mut keys = Keys::default();
    for (key, value) in schema["properties"].as_object().unwrap() {
        keys.add(key, stage.get(key).unwrap_or(value));
    }
    // A single service has the keys of one of several, which the example says more of.
    keys.rows.retain(|key, _| !key.starts_with("service."));
    let mut text =
        "# Every key\n\nThis page is made of the JSON Schema that `shipit schema` prints; a \
                    test holds that.\n[configuration.md](../configuration.md) says what each key \
                    does, its default and its rules.\nText may be a length of time, such as \
                    \"30s\". `service` has the keys of `services.NAME`, but for\n`roles` and \
                    `after`.\n"
            .to_owned();
    text.push_str("\n| key | value | what |\n|---|---|---|\n");
    for row in keys.rows.values() {
        let _ = writeln!(text, "{row}");
    }
    assert!(keys.rows.len() > 100, "{}", keys.rows.len());
    is_current("docs/reference/config.md", &text);
}

/// Returns the pages of the book.
fn pages() -> Vec<PathBuf> {
    let files = WalkDir::new("docs").sort_by_file_name().into_iter().map(Result::unwrap);
    let files = files.map(walkdir::DirEntry::into_path);
    files.filter(|path| path.extension().is_some_and(|it| it == "md")).collect()
}

#[test]
fn every_page_is_in_the_summary_once() {
    let summary = fs::read_to_string("docs/SUMMARY.md").unwrap();
    for page in pages() {
        let name = page.strip_prefix("docs").unwrap().display().to_string();
        let times = summary.matches(&format!("]({name})")).count();
        assert_eq!(times, usize::from(name != "SUMMARY.md"), "{name}");
    }
}

#[test]
fn pages_named_readme_keep_their_name() {
    let pages = pages();
    assert!(pages.iter().any(|page| page.ends_with("recipes/README.md")), "{pages:?}");
    // By default mdBook makes index.html of them, and leaves the links to README.html.
    let settings: toml::Table = fs::read_to_string("docs/book.toml").unwrap().parse().unwrap();
    assert_eq!(settings["build"]["use-default-preprocessors"].as_bool(), Some(false));
}

/// Returns the anchors of a page, as GitHub and mdBook make them of headings.
fn anchors(text: &str) -> Vec<String> {
    let mut code = false;
    let headings = text.lines().filter(|line| {
        code ^= line.trim_start().starts_with("```");
        !code && line.starts_with('#')
    });
    let kept = |c: char| c.is_alphanumeric() || "-_ ".contains(c);
    let headings = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    headings
        .map(|line| line.chars().filter(|c| kept(*c)).collect::<String>().replace(' ', "-"))
        .collect()
}

/// `tidy.rs` holds that the file of each link is there.
#[test]
fn links_lead_to_headings() {
    let mut broken = Vec::new();
    let mut count = 0;
    for page in pages().into_iter().chain(["README.md".into(), "CHANGELOG.md".into()]) {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((file, anchor)) = link.split_once('#').filter(|_| !link.contains("://"))
            else {
                continue;
            };
            count += 1;
            let file = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            let there = anchors(&fs::read_to_string(file).unwrap_or_default());
            if !there.iter().any(|it| it == anchor) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(
        count > 20 && broken.is_empty(),
        "of {count} links, these lead to no heading: {broken:#?}"
    );
}
