//! A tool of the host fails once.

use std::fs;
use std::path::Path;

use shipit::remote::local::LocalSession;

use crate::support::effort::{effort, some, try_all};
use crate::support::fleet::{TestFleet, Work};
use crate::support::tools::program;

/// Everything the agent runs that could fail.
const TOOLS: [&str; 19] = [
    "tar",
    "mv",
    "ln",
    "sync",
    "sha256sum",
    "find",
    "stat",
    "mkdir",
    "rm",
    "readlink",
    "cmp",
    "sort",
    "sed",
    "awk",
    "date",
    "mktemp",
    "timeout",
    "wc",
    "cat",
];

/// The tools of a deploy that shares files.
const SHARING: [&str; 10] =
    ["tar", "sha256sum", "find", "stat", "mv", "cmp", "sort", "awk", "head", "cat"];

/// A host whose `tool` counts its calls and fails at the call number in `fail-at`.
fn failing(dir: &Path, tool: &str) -> LocalSession {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let real = which(tool);
    let here = dir.display();
    let script = format!(
        "#!/bin/bash\nif [ -e {here}/fail-at ]; then\n  {{ read -r left <{here}/fail-at; }}\n  \
         left=$((left - 1))\n  echo $left >{here}/fail-at\n  [ $left != 0 ] || exit 1\nfi\n\
         exec {real} \"$@\"\n"
    );
    program(&bin.join(tool), &script);
    LocalSession::new().var("PATH", &format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()))
}

fn which(tool: &str) -> String {
    let places = ["/usr/local/bin", "/usr/bin", "/bin"].map(|place| format!("{place}/{tool}"));
    places.into_iter().find(|path| Path::new(path).exists()).unwrap()
}

#[tokio::test]
async fn tool_that_fails_once_is_survived() {
    let calls: &[u32] = effort(&[1], &[1], &[1, 2, 3, 4, 5, 6]);
    let cases = TOOLS.into_iter().flat_map(|tool| calls.iter().map(move |call| (tool, *call)));
    try_all(some(cases), |(tool, call)| async move {
        let dir = tempfile::tempdir().unwrap();
        let fleet = TestFleet::new(failing(dir.path(), tool)).await;
        fs::write(dir.path().join("fail-at"), call.to_string()).unwrap();
        let report = fleet.world.deploy("2").await;
        fs::remove_file(dir.path().join("fail-at")).unwrap();
        if call == 1 {
            let fault = format!("deploy: `{tool}` fails once");
            fleet.matches_table("faults::tools::tool_that_fails_once_is_survived", &fault, &report);
        }
        fleet.is_honest(&format!("{tool} failed on call {call}"), Work::Deploy, &report).await;
    })
    .await;
}

#[tokio::test]
async fn tool_that_fails_once_in_a_sharing_deploy_is_survived() {
    let calls: &[u32] = effort(&[2], &[2], &[1, 2, 3, 4, 5, 6]);
    let cases = SHARING.into_iter().flat_map(|tool| calls.iter().map(move |call| (tool, *call)));
    try_all(some(cases), |(tool, call)| async move {
        let dir = tempfile::tempdir().unwrap();
        let fleet = TestFleet::new(failing(dir.path(), tool)).await.sharing();
        fs::write(dir.path().join("fail-at"), call.to_string()).unwrap();
        let report = fleet.world.deploy("2").await;
        fs::remove_file(dir.path().join("fail-at")).unwrap();
        let case = format!("{tool} failed on call {call} where files are shared");
        fleet.is_honest(&case, Work::Deploy, &report).await;
    })
    .await;
}
