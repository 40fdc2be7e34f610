//! .env values read back as the same bytes by every reader.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use shipit::config::env::{EnvError, EnvFile, values};
use shipit::config::{EnvSource, EnvSpec};

fn make(value: EnvSource) -> Result<EnvFile, EnvError> {
    let vars = BTreeMap::from([("NAME".to_owned(), value)]);
    let spec = EnvSpec { file: ".env".to_owned(), mode: "600".to_owned(), group: None, vars };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let set = |name: &str| (name == "SET").then(|| "from outside".to_owned());
    runtime.block_on(values(&spec, Path::new("/"), &set))
}

fn text(value: &str) -> Result<EnvFile, EnvError> {
    make(EnvSource::Text(value.to_owned()))
}

fn read_by_sh(file: &EnvFile) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env"), file.bytes()).unwrap();
    let script = ". ./.env; printf %s. \"$NAME\"";
    let out = Command::new("sh").arg("-c").arg(script).current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    said.strip_suffix('.').unwrap().to_owned()
}

#[test]
fn sources_are_fetched() {
    assert_eq!(read_by_sh(&make(EnvSource::Variable("SET".to_owned())).unwrap()), "from outside");
    let command = make(EnvSource::Command("printf 'a b\\n'".to_owned())).unwrap();
    assert_eq!(read_by_sh(&command), "a b");
    assert_eq!(command.secrets(), ["a b"]);
}

#[test]
fn errors_name_the_key_and_never_the_value() {
    let unset = make(EnvSource::Variable("UNSET".to_owned())).unwrap_err();
    assert_eq!(
        unset.to_string(),
        "`NAME` needs the environment variable `UNSET`, which is not set"
    );
    let failed = make(EnvSource::Command("echo s3cret; exit 3".to_owned())).unwrap_err();
    assert!(!failed.to_string().contains("s3cret"), "{failed}");
    assert!(format!("{:?}", text("s3cret").unwrap()).contains("not shown"));
}

#[test]
fn what_readers_disagree_on_is_refused() {
    for value in ["back\\slash", "fill ${ME}", "carriage\rreturn", "it's $HOME", "bell\u{7}"] {
        assert!(text(value).is_err(), "{value:?} must be refused");
    }
    for value in ["", " lead and trail ", "#no comment", "a\nb", "$HOME", "it's", "ü €", "a=b"] {
        assert_eq!(read_by_sh(&text(value).unwrap()), value);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_accepted_reads_back(value in "[ -~\n\té]{0,24}") {
        if let Ok(file) = text(&value) {
            prop_assert_eq!(read_by_sh(&file), value);
        }
    }
}
