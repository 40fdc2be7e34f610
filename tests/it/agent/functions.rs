//! Functions of the script one by one, under every shell, without a conversation.

use std::fs;
use std::process::Command;

use shipit::remote::script::SCRIPT;

use crate::support::shells::shells;

/// What every function may rely on: directories, the run, and who we are.
const STATE: &str = "root=$PWD/srv tmp=$PWD/tmp run=run1 run_dir=$PWD/srv/.shipit/run/run1 \
    ledger=$PWD/srv/.shipit/ledger.jsonl locked=yes appended='' ticked='' looked='' walked=''; \
    uid=$(id -u); mkdir -p \"$tmp\" \"$run_dir\" \"$root/releases\" \"$root/shared\"; ";

/// Runs `lines` with all functions at hand; what they print must be `expected`.
#[track_caller]
fn check(lines: &str, expected: &str) {
    let functions = SCRIPT.trim_end().strip_suffix("main \"$@\"").unwrap();
    for shell in shells() {
        let dir = tempfile::tempdir().unwrap();
        let mut words = shell.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg("-c").arg(format!("{functions}\n{STATE}\n{lines}"));
        let out = command.current_dir(dir.path()).output().unwrap();
        let printed = String::from_utf8_lossy(&out.stdout).into_owned();
        let why = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(printed, expected, "{shell}: {why}");
    }
}

#[test]
fn a_line_after_a_torn_one_begins_anew() {
    check("printf torn >\"$ledger\"; append \"$ledger\" whole; cat \"$ledger\"", "torn\nwhole\n");
}

#[test]
fn lines_get_the_time_and_the_reason() {
    check(
        "now=NOON reason='no word'; fill 'at @now@, because @reason@'; echo \"$filled\"",
        "at NOON, because no word\n",
    );
    check("now=NOON; fill plain; echo \"$filled\"", "plain\n");
}

#[test]
fn a_name_is_escaped_for_find() {
    check("as_pattern 'a[1]*\\b'; printf '%s\\n' \"$pattern\"", "a\\[1\\]\\*\\\\b\n");
    check("as_pattern plain; echo \"$pattern\"", "plain\n");
}

#[test]
fn only_a_link_to_one_of_our_releases_is_live() {
    let live =
        |target: &str| format!("ln -s '{target}' \"$root/current\"; find_live; echo \"[$live]\"");
    check(&live("releases/20260821090001"), "[20260821090001]\n");
    check(&live("releases/a/b"), "[]\n");
    check(&live("/opt/app"), "[]\n");
    check("find_live; echo \"[$live]\"", "[]\n");
}

#[test]
fn a_flip_replaces_the_link_and_says_where_it_points() {
    check(
        "mkdir \"$root/releases/1\" \"$root/releases/2\"; ln -s releases/1 \"$root/current\"
        flip releases/2 && readlink \"$root/current\"; points_to releases/1 || echo elsewhere
        ls -a \"$root\" | grep -c '^.current'",
        "releases/2\nelsewhere\n0\n",
    );
}

#[test]
fn a_tree_is_listed_with_its_digests() {
    check(
        "mkdir -p t/sub; printf hello >t/sub/f; chmod 444 t/sub/f; ln -s sub/f t/l; printf x >t/.env
        listing t .env | LC_ALL=C sort",
        "d ./sub\nf 444 5 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 ./sub/f\n\
         l ./l -> sub/f\n",
    );
}

#[test]
fn differences_say_what_was_and_what_is() {
    check(
        "printf 'd ./a\\nf 444 1 x ./b\\n' >was; printf 'd ./a\\nf 555 1 x ./b\\n' >is
        differences was is listing | LC_ALL=C sort",
        "is f 555 1 x ./b\nwas f 444 1 x ./b\n",
    );
}

#[test]
fn a_range_of_a_file_is_exact() {
    check(
        "printf 0123456789 >f; range f 3 4 2>/dev/null; echo; range f 9 1 2>/dev/null",
        "3456\n9",
    );
}

#[test]
fn a_dead_process_holds_no_lock() {
    check(
        "make_token; is_alive \"$token\" && echo alive
        sleep 0 & dead=$!; wait; is_alive \"${boot}_${dead}_1_run2\" || echo dead
        is_alive \"other_$$_$(started $$)_run3\" || echo 'another boot'",
        "alive\ndead\nanother boot\n",
    );
}

#[test]
fn a_digest_of_config_is_keyed_as_hmac_says() {
    // Worked out with openssl's HMAC.
    check(
        "printf 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef >\"$root/.shipit/key\"
        printf 'A=1\\n' >env; keyed env",
        "d08a8dfb43b94810f8d84b4934e134ce9f2c9c83a809f0cec44bcea33749acfa\n",
    );
}

#[test]
fn a_directory_in_shared_gets_its_mode() {
    check("make_shared \"$root/shared/log\" 750 ''; stat -c %a \"$root/shared/log\"", "750\n");
}

#[test]
fn the_live_release_is_never_pruned() {
    check(
        "mkdir \"$root/releases/1\"; ln -s releases/1 \"$root/current\"; order_prune 1 line note
        order_prune ../1 line note; ls \"$root/releases\"",
        "1 is live\n../1 is not a release\n1\n",
    );
}

#[test]
fn the_end_of_a_history_comes_with_how_much_there_is() {
    check(
        "printf '%s\\n' one two three >\"$ledger\"; order_history 2",
        "lines 3\nledger two\nledger three\n",
    );
}

#[test]
fn who_may_reach_a_path_is_told() {
    check("mkdir d; chmod 750 d; access d | cut -d ' ' -f 1,4", "750 d\n");
}

/// No file may be left out of what is sent.
#[test]
fn every_file_is_part_of_the_script() {
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/remote/agent")).unwrap();
    for file in files {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let joined = SCRIPT.contains(text.trim_end());
        assert!(joined, "{} is not part of the script", path.display());
    }
}
