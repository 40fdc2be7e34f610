//! Six hosts that are followed and acted on at once: one is down, one is slow.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::app::{App, Wish};
use crate::hosts::{APPS, Host, SPARE, until};

/// The hosts that write to their journals, one after the other.
const WRITERS: [usize; 5] = [2, 0, 4, 1, 3];

/// Stops the sshd of a host for two seconds.
fn delay(host: Host) -> Child {
    host.root("kill -STOP $(systemctl show -P MainPID ssh)");
    host.enter("sleep 2; kill -CONT $(systemctl show -P MainPID ssh)").spawn().unwrap()
}

/// Says something in the journal of the service.
fn write(host: Host, number: usize) {
    host.root(&format!(
        "printf 'MESSAGE=mark {number} p0isoned-value\\nOBJECT_SYSTEMD_UNIT=around.service\\n' | \
         logger --journald"
    ));
}

/// The lines of this text about what [`write`] wrote, without their times.
fn marks(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| Some((line.split_once(" | ")?.0, line)));
    lines
        .filter_map(|(host, line)| Some(format!("{host} {}", line.split_once(": mark ")?.1)))
        .collect()
}

/// Opens a shell on a host and has it end with 3.
fn shell(app: &App, host: Host) -> Child {
    let mut ssh = app.command(&["ssh", "production", host.0]);
    let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let line = b"pwd; echo $GREETING; exit 3\n";
    ssh.stdin.take().unwrap().write_all(line).unwrap();
    ssh
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn six_hosts_are_followed_and_acted_on_though_one_is_down_and_one_slow() {
    let six: Vec<Host> = APPS.into_iter().chain(SPARE).collect();
    let tables = "vars.TOKEN = { value = \"p0isoned-value\", secret = true }\n";
    let app = App::with(&six, "around", &Wish { tables, ..Wish::default() });
    app.edit("user = \"deploy\"", "user = \"deploy\"\nconnect_timeout = \"3s\"");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let _cut = six[5].cut();
    let path = app.write("followed", "");
    let mut follow = app.command(&["logs", "production", "-f", "--lines", "1"]);
    let mut follow = follow.stdout(File::create(&path).unwrap()).spawn().unwrap();

    let mut delayed = delay(six[4]);
    let shells: Vec<_> = six.iter().map(|&host| shell(&app, host)).collect();
    let command = "echo $SHIPIT_HOST has $TOKEN; test $SHIPIT_HOST != app3 || exit 7";
    let ran = app.shipit(&["run", "production", "--", command]).ends(1);
    let mut lines: Vec<_> = ran.stdout.lines().collect();
    lines.sort_unstable();
    let each = six[..5].iter().map(|host| format!("{0} | {0} has ***", host.0));
    assert_eq!(lines, each.collect::<Vec<_>>());
    ran.says(&[
        "error: app6: ",
        "app1, app2, app4, app5: exited with code 0",
        "app3: exited with code 7",
    ]);
    assert!(delayed.wait().unwrap().success());
    for (host, shell) in six.iter().zip(shells) {
        let output = shell.wait_with_output().unwrap();
        let (code, text) = (output.status.code(), String::from_utf8_lossy(&output.stdout));
        let (expected, says) = match host.0 {
            "app6" => (255, ""),
            _ => (3, "/srv/around/current\nhello\n"),
        };
        assert_eq!((code, text.replace('\r', "").as_str()), (Some(expected), says), "{}", host.0);
    }

    WRITERS.iter().enumerate().for_each(|(number, place)| write(six[*place], number));
    let order: Vec<_> = WRITERS.iter().enumerate().collect();
    let mut wanted: Vec<_> =
        order.iter().map(|(number, place)| format!("{} {number} ***", six[**place].0)).collect();
    let mut delayed = delay(six[4]);
    let logs = app.shipit(&["logs", "production", "--since", "1m"]).ends(1).says(&["app6"]);
    assert_eq!(marks(&logs.stdout), wanted, "by time, whoever answers first");
    assert!(delayed.wait().unwrap().success());
    wanted.sort_unstable();
    let followed = || {
        let mut marks = marks(&fs::read_to_string(&path).unwrap());
        marks.sort_unstable();
        marks == wanted
    };
    until(Duration::from_secs(5), "what was written is shown", followed);
    let pid = follow.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(follow.wait().unwrap().code(), Some(0), "so a person ends it");
    until(Duration::from_secs(10), "nothing of it runs on", || {
        !six[3].try_root("pgrep journalctl").status.success()
    });
}
