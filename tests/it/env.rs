//! Values of env files: read from where they are, written for their reader. `dotenv` has the files
//! that are read, `readers` the programs that read what is written.

mod dotenv;
mod readers;

use std::collections::BTreeMap;
use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;
use shipit::config::env::{EnvError, EnvFile, values};
use shipit::config::env_format::EnvFormat;
use shipit::config::secrecy::Secrecy;
use shipit::config::{EnvImport, EnvSource, EnvSpec, EnvVar, IfAbsent};

/// Returns the line of a portable file.
fn one(value: &str) -> Result<String, EnvError> {
    let wrong = |reason| EnvError::Unwritable { key: "KEY".to_owned(), reason, systemd: false };
    EnvFormat::Portable.line("KEY", value).map_err(wrong)
}

fn say(error: &EnvError) -> String {
    let cause = std::error::Error::source(error).map(|source| format!("\n  cause: {source}"));
    let hint = error.hint().map(|hint| format!("\n  hint: {hint}"));
    format!("{error}{}{}", cause.unwrap_or_default(), hint.unwrap_or_default())
}

/// The values of a file as (quote, value), each read up to the next quote of its kind.
fn quoted(text: &str) -> Vec<(char, String)> {
    let mut rest = text;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (_, after) = rest.split_once('=').unwrap();
        let quote = after.chars().next().unwrap();
        let (value, after) = after[1..].split_once(quote).unwrap();
        all.push((quote, value.to_owned()));
        rest = after.strip_prefix('\n').unwrap();
    }
    all
}

/// Whether a value between these quotes is one that systemd, npm's, Ruby's and Python's dotenv
/// take as it stands, by what their parsers do:
///
/// | reader | between single quotes | between double quotes |
/// |---|---|---|
/// | systemd (`load_env_file`) | nothing is special | a backslash escapes |
/// | npm, Ruby | `\'` does not end the value | neither does `\"`; `\n`, `\r` and Ruby's `$` expand |
/// | python-dotenv | `\\`, `\'` are escapes, `${…}` expands | escapes as in Python, `${…}` expands |
/// | all | noncharacters, CR and NUL are refused or changed | the same |
fn stands_for_itself(quote: char, value: &str) -> bool {
    let everywhere = ['\r', '\0', '\u{fffe}', '\u{ffff}'];
    let inside = match quote {
        '\'' => !value.contains(r"\\") && !value.ends_with('\\') && !value.contains("${"),
        _ => quote == '"' && !value.contains(['\\', '$', '`']),
    };
    inside && !value.contains(everywhere)
}

#[test]
fn quotes_depend_on_the_value() {
    assert_eq!(one("plain").unwrap(), "KEY='plain'\n");
    assert_eq!(one("").unwrap(), "KEY=''\n");
    assert_eq!(one("it's").unwrap(), "KEY=\"it's\"\n");
    assert_eq!(one("a \"b\" $c `d` \\e #f ! ").unwrap(), "KEY='a \"b\" $c `d` \\e #f ! '\n");
    assert_eq!(one("two\nlines\n").unwrap(), "KEY='two\nlines\n'\n");
}

#[test]
fn value_that_some_reader_changes_is_refused() {
    let refused = |value: &str| say(&one(value).unwrap_err());
    assert_snapshot!(refused("it's \"both\""), @r#"
    the value of `KEY` cannot be written to an environment file: it holds `'` together with one of `"`, `$`, `\` and a backquote
      hint: give `KEY` as base64 and let the program decode it
    "#);
    assert_snapshot!(refused("a${b}"), @"
    the value of `KEY` cannot be written to an environment file: it holds `${`
      hint: give `KEY` as base64 and let the program decode it
    ");
    assert_snapshot!(refused("c:\\"), @r#"
    the value of `KEY` cannot be written to an environment file: it holds `\` at its end or twice in a row
      hint: give `KEY` as base64 and let the program decode it
    "#);
    assert_snapshot!(refused("a\r\nb"), @r#"
    the value of `KEY` cannot be written to an environment file: it holds a carriage return
      hint: if it is a text file, `sed 's/\r$//'` makes its lines end as on Unix
    "#);
    assert_snapshot!(refused("a\0b"), @"
    the value of `KEY` cannot be written to an environment file: it holds a NUL character
      hint: give `KEY` as base64 and let the program decode it
    ");
    assert_snapshot!(refused("\u{fffe}"), @"
    the value of `KEY` cannot be written to an environment file: it holds a code point that is not a character
      hint: give `KEY` as base64 and let the program decode it
    ");
    assert_snapshot!(refused(&"x".repeat(128 * 1024)), @"
    the value of `KEY` cannot be written to an environment file: it is longer than 128 KiB
      hint: put it into a file below `shared/` and link that
    ");
    for value in ["'$", "'`", "'\\", "\\\\", "\r", "\u{1ffff}", "\u{fdd0}"] {
        assert!(one(value).is_err(), "{value:?}");
    }
    for value in ["$", "`", "\\n", "\"", "\u{1}", "\u{7f}", "\u{2028}", "\u{feff}", "漢", "$HOME"]
    {
        assert!(one(value).is_ok(), "{value:?}");
    }
    assert_eq!(one(&"x".repeat(128 * 1024 - 5)).unwrap().len(), 128 * 1024 + 2);
    assert_snapshot!(say(&EnvError::ReadOnly { key: "UID".to_owned() }), @"
    `UID` cannot be set in an environment file: shells reserve it
      hint: choose another name
    ");
    assert!(EnvFormat::Portable.reserves("UID") && !EnvFormat::Systemd.reserves("UID"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Many values a case, since a shell costs a millisecond.
    #[test]
    fn every_reader_reads_back_what_was_written(candidates in prop::collection::vec(readers::tricky(), 8..40)) {
        let accepted = candidates.into_iter().filter(|value| one(value).is_ok());
        let values = accepted
            .enumerate()
            .map(|(i, value)| (format!("KEY{i:02}"), value))
            .collect::<BTreeMap<_, _>>();
        let text = readers::written(EnvFormat::Portable, &values);
        for shell in readers::SHELLS {
            if let Some(read) = readers::sourced(shell, &text, &values) {
                prop_assert_eq!(&read, &values, "{:?}", shell);
            }
        }
        let expected = values.values().cloned().collect::<Vec<_>>();
        let read = quoted(&text);
        prop_assert!(read.iter().all(|(quote, value)| stands_for_itself(*quote, value)), "{}", text);
        let read = read.into_iter().map(|(_, value)| value).collect::<Vec<_>>();
        prop_assert_eq!(read, expected);
    }
}

fn spec(vars: &[(&str, EnvSource)]) -> EnvSpec {
    let var = |source: &EnvSource| EnvVar {
        source: source.clone(),
        absent: IfAbsent::Refused,
        secret: None,
    };
    let vars = vars.iter().map(|(key, source)| ((*key).to_owned(), var(source))).collect();
    EnvSpec { file: ".env".to_owned(), vars, ..EnvSpec::default() }
}

fn run_here(text: &str) -> EnvSource {
    EnvSource::Command(text.to_owned())
}

async fn get(base: &Path, vars: &[(&str, EnvSource)]) -> Result<EnvFile, EnvError> {
    let environment = |name: &str| (name == "GIVEN").then(|| "from outside".to_owned());
    values(&spec(vars), base, &environment).await
}

#[tokio::test]
async fn values_are_fetched_from_their_sources() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join("key.pem"), "one\ntwo\n\n").unwrap();
    let vars = [
        ("A_TEXT", EnvSource::Text("text\n".to_owned())),
        ("B_VARIABLE", EnvSource::Variable("GIVEN".to_owned())),
        ("C_COMMAND", run_here("cat key.pem; read line || echo no input >&2")),
        ("D_FILE", EnvSource::File("key.pem".into())),
        ("E_NOTHING", run_here("true")),
    ];
    let file = get(base.path(), &vars).await.unwrap();
    assert_snapshot!(String::from_utf8_lossy(file.bytes()), @"
    A_TEXT='text
    '
    B_VARIABLE='from outside'
    C_COMMAND='one
    two
    '
    D_FILE='one
    two
    '
    E_NOTHING=''
    ");
    let secrets = file.secrets(&Secrecy::default());
    assert!(secrets.ends_with(&["from outside", "one\ntwo\n", "one\ntwo\n"].map(str::to_owned)));
    let debug = format!("{file:?}");
    assert!(!debug.contains("outside") && !debug.contains("one"), "{debug}");
}

#[tokio::test]
async fn failed_value_is_named_by_its_key_only() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join("binary"), b"\xff\xfepoison").unwrap();
    let wrong = async |source| {
        let text = say(&get(base.path(), &[("KEY", source)]).await.unwrap_err());
        assert!(!text.contains("poison"), "{text}");
        text.replace(&base.path().display().to_string(), "/project")
    };
    assert_snapshot!(wrong(EnvSource::Variable("ABSENT".to_owned())).await, @"
    `KEY` comes from the variable `ABSENT`, which is not set
      hint: `export ABSENT=…`, then run this again
    ");
    assert_snapshot!(wrong(EnvSource::File("absent".into())).await, @"
    `KEY` comes from the file /project/absent, which could not be read
      cause: No such file or directory (os error 2)
      hint: paths are relative to deploy.toml
    ");
    assert_snapshot!(wrong(EnvSource::File("binary".into())).await, @"
    the value of `KEY` cannot be written to an environment file: it is not UTF-8 text
      hint: give `KEY` as base64 and let the program decode it
    ");
    let failing = "echo poison; echo 'cannot use poison' >&2; printf 'n\\033o\\n' >&2; exit 3";
    assert_snapshot!(wrong(run_here(failing)).await, @"
    the command for the value of `KEY` exited with code 3
      cause: cannot use [hidden]
    no
      hint: run it by hand with `sh -c`, beside deploy.toml
    ");
    assert_snapshot!(wrong(run_here("kill -9 $$")).await, @"
    the command for the value of `KEY` was ended by signal 9
      hint: run it by hand with `sh -c`, beside deploy.toml
    ");
    assert_snapshot!(wrong(run_here("printf %s \"poison's \\\"\"")).await, @r#"
    the value of `KEY` cannot be written to an environment file: it holds `'` together with one of `"`, `$`, `\` and a backquote
      hint: give `KEY` as base64 and let the program decode it
    "#);
}

fn import(source: EnvSource, absent: IfAbsent) -> EnvImport {
    EnvImport { source, absent }
}

/// Later files count more than earlier ones, single values more than files, and what is absent is
/// left out or replaced where the config says so.
#[tokio::test]
async fn files_are_read_in_order_and_single_values_count_most() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join(".env"), "A=file\nB=file\nC='of $B'\n").unwrap();
    let mut spec = spec(&[("A", EnvSource::Text("own".to_owned()))]);
    spec.imports = vec![
        import(EnvSource::File(".env".into()), IfAbsent::Refused),
        import(EnvSource::File("absent".into()), IfAbsent::LeftOut),
        import(EnvSource::Variable("ABSENT".to_owned()), IfAbsent::LeftOut),
        import(run_here("echo 'B=command'; echo \"D=\\${A}-\\${B}\""), IfAbsent::Refused),
    ];
    let absent = |source, absent| EnvVar { source, absent, secret: None };
    let nothing = EnvSource::Variable("EMPTY".to_owned());
    let text = IfAbsent::Text(String::new());
    spec.vars.insert("E".to_owned(), absent(nothing.clone(), text));
    spec.vars.insert("F".to_owned(), absent(nothing, IfAbsent::LeftOut));
    spec.vars.insert(
        "G".to_owned(),
        absent(EnvSource::File("no".into()), IfAbsent::Text("g".to_owned())),
    );
    let empty = |name: &str| (name == "EMPTY").then(String::new);
    let file = values(&spec, base.path(), &empty).await.unwrap();
    assert_snapshot!(String::from_utf8_lossy(file.bytes()), @"
    A='own'
    B='command'
    C='of $B'
    D='file-command'
    E=''
    G='g'
    ");
    let origins: Vec<_> = file.origins().map(|(key, from)| format!("{key} {from}")).collect();
    assert_snapshot!(origins.join("\n"), @"
    A deploy.toml
    B `echo …`:1
    C .env:3
    D `echo …`:2
    E its default
    G its default
    ");
}

#[tokio::test]
async fn wrong_file_of_values_is_named_with_its_line_and_without_values() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join("prod.env"), "A=1\n\nB=poison#x\n").unwrap();
    let wrong = async |source| {
        let imports = vec![import(source, IfAbsent::LeftOut)];
        let spec = EnvSpec { imports, ..spec(&[]) };
        say(&values(&spec, base.path(), &|_| None).await.unwrap_err())
            .replace(&base.path().display().to_string(), "/project")
    };
    assert_snapshot!(wrong(EnvSource::File("prod.env".into())).await, @"
    prod.env:3: the value of `B` holds `#` with no blank before it
      hint: put the whole value between quotes
    ");
    assert_snapshot!(wrong(EnvSource::File(".".into())).await, @"
    `files` comes from the file /project/., which could not be read
      cause: Is a directory (os error 21)
      hint: paths are relative to deploy.toml
    ");
    assert_snapshot!(wrong(run_here("echo A=1; exit 1")).await, @"
    the command for the value of `files` exited with code 1
      hint: run it by hand with `sh -c`, beside deploy.toml
    ");
    assert_snapshot!(wrong(run_here("echo poison")).await, @"
    `echo …`:1: neither `NAME=value` nor a comment
      hint: write `NAME=value`, or put `#` in front of it
    ");
}

/// Only a unit can make use of the other format.
#[tokio::test]
async fn refused_value_names_the_format_that_could_hold_it_for_a_unit() {
    let base = tempfile::tempdir().unwrap();
    let mut spec = spec(&[("KEY", EnvSource::Text("it's \"both\"".to_owned()))]);
    spec.for_unit = true;
    let refused = async |spec: &EnvSpec| values(spec, base.path(), &|_| None).await;
    assert_snapshot!(say(&refused(&spec).await.unwrap_err()), @r#"
    the value of `KEY` cannot be written to an environment file: it holds `'` together with one of `"`, `$`, `\` and a backquote
      hint: in [env]: `format = "systemd"`, if units read the file by EnvironmentFile=; or give `KEY` as base64
    "#);
    spec.format = EnvFormat::Systemd;
    assert_eq!(refused(&spec).await.unwrap().bytes(), b"KEY=\"it's \\\"both\\\"\"\n");
}

#[tokio::test]
async fn value_command_has_a_time_limit() {
    let base = tempfile::tempdir().unwrap();
    let slow = [("KEY", run_here("echo $$ > pid; exec sleep 300"))];
    let pid = base.path().join("pid");
    let started = async {
        while !std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')) {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(61)).await;
        tokio::time::resume();
    };
    let (result, ()) = tokio::join!(get(base.path(), &slow), started);
    assert_snapshot!(say(&result.unwrap_err()), @"
    the command for the value of `KEY` took longer than 60s
      hint: it has no terminal and no input to ask on
    ");
}
