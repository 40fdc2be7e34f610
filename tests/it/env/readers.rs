//! Env files are read back by the programs that they are written for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use shipit::config::dotenv::parse;
use shipit::config::env_format::EnvFormat;

pub(super) const SHELLS: [&[&str]; 5] =
    [&["sh"], &["bash"], &["busybox", "sh"], &["mksh"], &["zsh"]];

type Values = BTreeMap<String, String>;

/// Returns the content of a file in a format, from these values that it can hold.
pub(super) fn written(format: EnvFormat, values: &Values) -> String {
    let lines = values.iter().map(|(key, value)| format.line(key, value).unwrap());
    format.whole(&lines.collect::<Vec<_>>())
}

/// Characters that mean something to some reader, more often than others.
pub(super) fn tricky() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "'", "\"", "\\", "$", "`", "\n", "\r", "#", " ", "!", "=", "{", "}", "~", "${", "$HOME",
            "$(id)", "\\n", "\\\\", "\t", "\u{b}", "\u{85}", "\u{2028}", "\u{feff}", "export A=",
            "\nKEY1=x",
        ])
        .prop_map(str::to_owned),
        2 => "[a-z0-9]{1,4}",
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Returns the values that a shell has after it read `text`, or `None` without the shell.
pub(super) fn sourced(shell: &[&str], text: &str, values: &Values) -> Option<Values> {
    let script = r#". ./.env; for name do eval "printf '%s\\0' \"\$$name\""; done"#;
    let mut arguments = shell.to_vec();
    arguments.extend(["-c", script, "sh"]);
    arguments.extend(values.keys().map(String::as_str));
    let printed = read_by(&arguments, ".env", text)?;
    let texts = printed.split_terminator('\0').map(str::to_owned);
    Some(values.keys().cloned().zip(texts).collect())
}

/// Runs a program in a directory with a file of this text. Returns what it prints; `None` if there
/// is no such program or library: `tests/run` says which readers are missing.
fn read_by(line: &[&str], file: &str, text: &str) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(file), text).unwrap();
    let mut command = Command::new(line[0]);
    command.args(&line[1..]).current_dir(directory.path()).env("HOME", "/home/somebody");
    let Output { stdout, stderr, .. } = command.output().ok()?;
    let told = String::from_utf8_lossy(&stderr).into_owned();
    // The last one: Node before 20.12 has no `parseEnv`.
    let lacks = ["LoadError", "No module", "Cannot find", "parseEnv is not a function"];
    if lacks.iter().any(|text| told.contains(text)) {
        return None;
    }
    assert!(told.is_empty(), "{line:?}: {told}");
    Some(String::from_utf8(stdout).unwrap())
}

/// A program that prints the values of a file as JSON.
struct Library {
    name: &'static str,
    line: &'static [&'static str],
    /// Whether it reads values of several lines.
    lines: bool,
}

const DOTENV: [Library; 4] = [
    Library {
        name: "python-dotenv",
        line: &[
            "python3",
            "-c",
            "import dotenv, json; print(json.dumps(dotenv.dotenv_values('.env')))",
        ],
        lines: true,
    },
    Library {
        name: "npm dotenv",
        line: &[
            "node",
            "-e",
            "console.log(JSON.stringify(require('dotenv').parse(require('fs').readFileSync('.env'))))",
        ],
        lines: true,
    },
    Library {
        name: "node",
        line: &[
            "node",
            "-e",
            "console.log(JSON.stringify(require('util').parseEnv(require('fs').readFileSync('.env', 'utf8'))))",
        ],
        lines: true,
    },
    Library {
        name: "Ruby's dotenv",
        line: &[
            "ruby",
            "-Ku",
            "-rjson",
            "-rdotenv",
            "-e",
            "puts JSON.dump(Dotenv::Parser.call(File.read('.env')))",
        ],
        lines: false,
    },
];

const JSON: [Library; 3] = [
    Library {
        name: "python",
        line: &["python3", "-c", "import json; print(json.dumps(json.load(open('.env'))))"],
        lines: true,
    },
    Library {
        name: "node",
        line: &[
            "node",
            "-e",
            "console.log(JSON.stringify(JSON.parse(require('fs').readFileSync('.env'))))",
        ],
        lines: true,
    },
    Library {
        name: "ruby",
        line: &["ruby", "-Ku", "-rjson", "-e", "puts JSON.dump(JSON.parse(File.read('.env')))"],
        lines: true,
    },
];

fn read_by_library(library: &Library, text: &str) -> Option<Values> {
    let printed = read_by(library.line, ".env", text)?;
    Some(serde_json::from_str(&printed).unwrap())
}

/// Returns the values that systemd's `EnvironmentFile=` reads from lines of `NAME=value`, by
/// `parse_env_file_internal`. Before 240, a backslash within either quotes kept the next character
/// only.
fn read_by_systemd(text: &str, old: bool) -> Values {
    let (mut values, mut rest) = (Values::new(), text);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').unwrap();
        let mut chars = after.chars();
        let (mut value, mut quote) = (String::new(), None);
        while let Some(c) = chars.next() {
            match (quote, c) {
                (None, '\n') => break,
                (None, '\'' | '"') => quote = Some(c),
                (Some(of), _) if of == c => quote = None,
                (Some('\''), '\\') if !old => value.push(c),
                (Some(_), '\\') => match chars.next().unwrap() {
                    next if old || "\"\\`$".contains(next) => value.push(next),
                    '\n' => {}
                    next => value.extend(['\\', next]),
                },
                _ => value.push(c),
            }
        }
        values.insert(name.to_owned(), value);
        rest = chars.as_str();
    }
    values
}

/// Returns the values that docker's `opts.ParseEnvFile` and podman's `env.ParseFile` read: Go's
/// scanner drops a carriage return at the end of a line.
fn read_by_container_rules(text: &str) -> Values {
    let lines = text.split_terminator('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let lines = lines.filter(|line| !line.trim_start().is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Returns what docker's client sends to its daemon, which is a socket of ours.
fn read_by_docker(text: &str) -> Option<Values> {
    Command::new("docker").arg("--version").output().ok()?;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    let daemon = std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut size) = (String::new(), 0);
            stream.read_line(&mut line).unwrap();
            let asks = line.contains("/containers/create");
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).unwrap();
                if let Some(length) = line.to_lowercase().strip_prefix("content-length:") {
                    size = length.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; size];
            stream.read_exact(&mut body).unwrap();
            let answer = "HTTP/1.1 400 No\r\nApi-Version: 1.43\r\nConnection: close\r\n\
                          Content-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"message\":\"no\"}\n";
            let fine = answer.replace("400 No", "200 OK");
            let answer = if asks { answer } else { &fine };
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            if asks {
                return body;
            }
        }
        Vec::new()
    });
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("env"), text).unwrap();
    let arguments = ["-H", &host, "create", "--env-file", "env", "image"];
    let output = Command::new("docker").args(arguments).current_dir(&directory).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("daemon: no"), "{said}");
    let body: serde_json::Value = serde_json::from_slice(&daemon.join().unwrap()).unwrap();
    Some(pairs(&body["Env"]))
}

/// Returns what podman notes of a container that never runs.
fn read_by_podman(text: &str) -> Option<Values> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("tree")).unwrap();
    fs::write(path("env"), text).unwrap();
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.args(["--root", "store", "--runroot", "run", "--storage-driver", "vfs"]);
        command.args(arguments).current_dir(&directory).output().ok()
    };
    let create = ["create", "--env-file", "env", "--name", "it", "--rootfs", "tree", "true"];
    let created = podman(&create)?;
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let shown = podman(&["inspect", "--format", "{{json .Config.Env}}", "it"]).unwrap();
    podman(&["rm", "it"]).unwrap();
    Some(pairs(&serde_json::from_slice(&shown.stdout).unwrap()))
}

fn pairs(list: &serde_json::Value) -> Values {
    let pairs = list.as_array().unwrap().iter().map(|pair| pair.as_str().unwrap());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Asserts that a reader sees the values that were written; podman adds some of its own.
fn agrees(reader: &str, read: &Values, values: &Values) {
    for (name, value) in values {
        assert_eq!(read.get(name), Some(value), "{reader} of {name}");
    }
}

/// Writes those of the values that a format can hold, and has every reader read them.
fn round_trip(format: EnvFormat, values: &Values) {
    let held = values.iter().filter(|(name, value)| format.line(name, value).is_ok());
    let values: Values = held.map(|(name, value)| (name.clone(), value.clone())).collect();
    let text = written(format, &values);
    let agree = |name: &str, read: Option<Values>| {
        if let Some(read) = read {
            agrees(&format!("{} by {name}", format.word()), &read, &values);
        }
    };
    if matches!(format, EnvFormat::Portable | EnvFormat::Systemd) {
        agree("systemd", Some(read_by_systemd(&text, false)));
    }
    if format == EnvFormat::Systemd {
        agree("systemd before 240", Some(read_by_systemd(&text, true)));
    }
    if matches!(format, EnvFormat::Portable | EnvFormat::Shell) {
        for shell in SHELLS {
            agree(shell[0], sourced(shell, &text, &values));
        }
    }
    let libraries: &[Library] = match format {
        EnvFormat::Portable => &DOTENV,
        EnvFormat::Json => &JSON,
        _ => &[],
    };
    for library in libraries {
        if library.lines {
            agree(library.name, read_by_library(library, &text));
        } else {
            let short = values.iter().filter(|(_, value)| !value.contains('\n'));
            let short = short.map(|(name, value)| (name.clone(), value.clone())).collect();
            if let Some(read) = read_by_library(library, &written(format, &short)) {
                agrees(library.name, &read, &short);
            }
        }
    }
    if format == EnvFormat::Docker {
        agree("their rules", Some(read_by_container_rules(&text)));
        agree("docker", read_by_docker(&text));
        agree("podman", read_by_podman(&text));
    }
}

/// A value, and how somebody writes it in a dotenv file.
fn assignment() -> impl Strategy<Value = (String, String)> {
    let plain = |value: String| (value.clone(), value);
    let double = |value: String| {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
        (value, format!("\"{escaped}\""))
    };
    let single = |value: String| (value.clone(), format!("'{value}'"));
    prop_oneof![
        "postgres://[a-z]{3,8}:[A-Za-z0-9_%.-]{4,12}@db[0-9]:5432/[a-z]{3}\\?ssl=true&n=[0-9]"
            .prop_map(plain),
        "[A-Za-z0-9+/]{42}[AQ]=".prop_map(plain),
        "(true|false|[0-9]{2,5}|info|[a-z]{2,8}|)".prop_map(plain),
        "[a-z]{3,9}(@|\\.)[a-z]{3,9}\\.example\\.net".prop_map(plain),
        "/srv/[a-z]{2,8}/[a-z.]{2,8}".prop_map(plain),
        "it's [a-z]{2,5} o'clock".prop_map(plain),
        "[A-Za-z0-9 #!%^&*()$\"\\[\\]{}|;:,.<>?/~-]{12,24}".prop_map(move |value| {
            // A library expands it even between single quotes.
            single(value.replace("${", "$"))
        }),
        "[A-Za-z0-9 #!%&*()'\\[\\]|;:,.<>?/~-]{12,24}".prop_map(double),
        "[A-Z]:[a-z]{3}".prop_map(move |value| single(value.replace(':', ":\\"))),
        "\\{\"[a-z]{2,6}\":\\[[0-9],\"[a-z ]{1,6}\"\\]\\}".prop_map(single),
        ("[A-Za-z0-9+/]{64}", "[A-Za-z0-9+/]{20}==").prop_map(|(one, two)| {
            let key = format!("-----BEGIN KEY-----\n{one}\n{two}\n-----END KEY-----\n");
            (key.clone(), format!("\"{key}\""))
        }),
        "[a-z]{3}".prop_map(|word| (format!("a\n{word}"), format!("\"a\\n{word}\""))),
        "[ναïé漢🦀 ]{3,9}x".prop_map(single),
        "[a-z ]{2,8}".prop_map(move |value| single(format!(" {value} "))),
    ]
}

/// Returns a file of 60 values as people write them, and the values.
fn real_looking() -> impl Strategy<Value = (String, Values)> {
    let line = (assignment(), 0_u8..8);
    prop::collection::vec(line, 60).prop_map(|lines| {
        let (mut text, mut values) = ("# Settings of production\n\n".to_owned(), Values::new());
        for (i, ((value, spelling), style)) in lines.into_iter().enumerate() {
            let name = format!("APP_SETTING_{i:02}");
            let (before, after) = match style {
                0 => ("export ", ""),
                1 => ("\n# the next one\n", ""),
                // Python takes a remark behind nothing for the value.
                2 if !spelling.is_empty() => ("", " # a remark"),
                3 => ("  ", "  "),
                _ => ("", ""),
            };
            writeln!(text, "{before}{name}={spelling}{after}").unwrap();
            values.insert(name, value);
        }
        (text, values)
    })
}

/// A few cases: each starts every reader once.
fn each_case<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let mut runner = TestRunner::deterministic();
    for _ in 0..cases {
        test(strategy.new_tree(&mut runner).unwrap().current());
    }
}

#[test]
fn real_looking_file_of_sixty_lines_survives_every_format_and_reader() {
    each_case(3, &real_looking(), |(text, values)| {
        let read =
            parse(&text, &Values::new()).unwrap_or_else(|e| panic!("{}: {e}\n{text}", e.line));
        let read: Values = read.into_iter().map(|it| (it.name, it.value)).collect();
        assert_eq!(read, values, "{text}");
        for library in &DOTENV {
            let short = values.iter().filter(|(_, value)| library.lines || !value.contains('\n'));
            let short = short.map(|(name, value)| (name.clone(), value.clone())).collect();
            if let Some(read) = read_by_library(library, &text) {
                agrees(library.name, &read, &short);
            }
        }
        for format in ALL {
            round_trip(format, &values);
        }
    });
}

const ALL: [EnvFormat; 5] =
    [EnvFormat::Portable, EnvFormat::Systemd, EnvFormat::Docker, EnvFormat::Shell, EnvFormat::Json];

#[test]
fn odd_values_survive_every_format_that_accepts_them() {
    each_case(3, &prop::collection::vec(tricky(), 60), |all| {
        let name = |i: usize| format!("KEY{i:02}");
        let values: Values = all.into_iter().enumerate().map(|(i, v)| (name(i), v)).collect();
        for format in ALL {
            round_trip(format, &values);
        }
    });
}

/// Values that a format cannot hold, its reader cannot read either.
#[test]
fn formats_hold_every_value_that_their_readers_can() {
    let all = ["it's \"$x\" `y` \\", "${a}", "two\nlines", "a\r\nb", "end\r", "\u{fffe}", "\0"];
    let refused = |format: EnvFormat| {
        let refused = all.iter().filter(|value| format.line("KEY", value).is_err());
        refused.map(|value| value.escape_debug().to_string()).collect::<Vec<_>>().join(" | ")
    };
    assert_eq!(refused(EnvFormat::Systemd), "\\u{fffe} | \\0");
    assert_eq!(refused(EnvFormat::Docker), "two\\nlines | a\\r\\nb | end\\r | \\0");
    assert_eq!(refused(EnvFormat::Shell), "\\0");
    assert_eq!(refused(EnvFormat::Json), "");
    let docker = |len: usize| EnvFormat::Docker.line("KEY", &"x".repeat(len)).is_ok();
    assert!(docker(60_000) && !docker(70_000));
}

/// The longest line that both programs read.
#[test]
fn longest_line_for_docker_is_read() {
    let fits = |len: &usize| EnvFormat::Docker.line("KEY", &"x".repeat(*len)).is_ok();
    let longest = (0..70_000).rev().find(fits).unwrap();
    let values = Values::from([("KEY".to_owned(), "x".repeat(longest))]);
    round_trip(EnvFormat::Docker, &values);
}

/// The rules in `read_by_container_rules` are those of the programs, if these are there.
#[test]
fn container_programs_take_what_stands_behind_the_first_equals_sign() {
    let text = "# remark\n\nA= b \nB='quoted' \"too\"\nC=a=b # no remark\nD=$HOME ${A}\nE=\n";
    let rules = read_by_container_rules(text);
    assert_eq!(rules["A"], " b ");
    assert_eq!(rules["C"], "a=b # no remark");
    for read in [read_by_docker(text), read_by_podman(text)].into_iter().flatten() {
        agrees("a container program", &read, &rules);
    }
}
