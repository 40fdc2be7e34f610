//! Functions of the script one by one, under every shell, without a conversation.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use shipit::model::digest::Digest;
use shipit::remote::script::SCRIPT;

use super::shells;

/// The variables that every function relies on: directories, the run, and the user.
const STATE: &str = "root=$PWD/srv tmp=$PWD/tmp run=run1 run_dir=$PWD/srv/.shipit/run/run1 \
    ledger=$PWD/srv/.shipit/ledger.jsonl unfinished=$PWD/srv/.shipit/unfinished \
    lock=$PWD/srv/.shipit/lock scope=none services='' service_count=0 number=1 \
    touched=1 whose='' locked=yes appended='' ticked='' looked='' walked='' \
    codes='' answer=0 veil='' env_name=.env log='' since='' logged=0 base='' sudo='sudo -n'; \
    uid=$(id -u); mkdir -p \"$tmp\" \"$run_dir\" \"$root/releases\" \"$root/shared\" \
    \"$root/.shipit/manifests\" \"$root/.shipit/trash\" \"$root/.shipit/env\"; : >\"$tmp/extra\"; ";

/// Runs `lines` with all functions at hand; what they print must be `expected`.
#[track_caller]
fn check(lines: &str, expected: &str) {
    let functions = SCRIPT.trim_end().strip_suffix("main \"$@\"").unwrap();
    // In a file, for a word of a command has at most 128 KiB.
    let mut script = tempfile::NamedTempFile::new().unwrap();
    write!(script, "{functions}\n{STATE}\n{lines}").unwrap();
    for shell in shells() {
        let dir = tempfile::tempdir().unwrap();
        let mut words = shell.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg(script.path());
        let out = command.current_dir(dir.path()).output().unwrap();
        let printed = String::from_utf8_lossy(&out.stdout).into_owned();
        let why = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(printed, expected, "{shell}: {why}");
    }
}

#[test]
fn arguments_of_any_text_set_the_variables_that_they_name() {
    check(
        r#"arguments id=7 note="it's \$one=1 \\" empty=; printf '%s\n' "$id" "$note" "[$empty]""#,
        "7\nit's $one=1 \\\n[]\n",
    );
}

#[test]
fn frames_of_two_answers_say_how_long_each_is() {
    check(
        r#"printf 'two\n' >"$tmp/out.0"; answered 0 12; : >"$tmp/out.1"; answered 125
        show() { while [ "$#" -gt 1 ]; do printf %s "$1"; cat "$2"; shift 2; done; printf %s "$1"; }
        framed show"#,
        "run1 out 4\ntwo\nrun1 done 0 12\nrun1 out 0\nrun1 done 125 \n",
    );
}

#[test]
fn probe_places_tells_whether_another_file_system_is_mounted_there() {
    check(
        "access() { :; }; for root in /proc/sys / /usr/..; do probe_places | grep mounted; done",
        "mounted yes\n",
    );
}

#[test]
fn is_same_file_wants_the_same_content_and_the_same_time() {
    check(
        r#"echo a >one; cp -p one two; echo b >other; touch -r one other; cp one later
        touch -d 2001-01-01 later; ln one link
        for file in link two other later none; do is_same_file one "$file" && echo "$file"; done"#,
        "link\ntwo\n",
    );
}

#[test]
fn obey_without_the_lock_refuses_what_needs_it() {
    check(
        r#"locked=''; obey commit; echo "$?"; obey nonsense; echo "$?"; obey mask text=plain"#,
        "the lock is not ours\n1\nthere is no order nonsense\n2\nplain\n",
    );
}

#[test]
fn is_alive_of_a_dead_process_or_another_boot_is_false() {
    check(
        r#"make_token; is_alive "$token" && echo alive
        sleep 0 & dead=$!; wait; is_alive "${boot}_${dead}_1_run2" || echo dead
        is_alive "other_$$_$(started $$)_run3" || echo 'another boot'"#,
        "alive\ndead\nanother boot\n",
    );
}

#[test]
fn find_holder_among_tokens_names_the_run_that_lives() {
    check(
        r#"make_token; echo "$token" >"$run_dir/token"
        mkdir "$root/.shipit/run/run2"; echo gone_1_1_run2 >"$root/.shipit/run/run2/token"
        find_holder; echo "$holder_run"; [ "$holder_pid" = "$$" ] && echo us"#,
        "run1\nus\n",
    );
}

#[test]
fn is_linked_by_a_dead_process_is_false_and_removes_the_link() {
    check(
        r#"make_token; ln -s "$token" "$lock.held"; is_linked && echo held
        ln -sf none_1_1_run2 "$lock.held"; is_linked || echo free; ls -A "$root/.shipit" | grep -c held"#,
        "held\nfree\n0\n",
    );
}

#[test]
fn find_live_takes_only_a_link_to_one_of_our_releases() {
    let live =
        |target: &str| format!("ln -s '{target}' \"$root/current\"; find_live; echo \"[$live]\"");
    check(&live("releases/20260821090001"), "[20260821090001]\n");
    check(&live("releases/a/b"), "[]\n");
    check(&live("/opt/app"), "[]\n");
    check("find_live; echo \"[$live]\"", "[]\n");
}

#[test]
fn look_format_of_a_newer_program_names_it() {
    check(r#"look_format; echo "[$newer]""#, "[]\n");
    check(r#"echo 1 >"$root/.shipit/format"; look_format; echo "[$newer]""#, "[]\n");
    check(
        r#"echo '2 shipit 0.9.0' >"$root/.shipit/format"; look_format; echo "$newer""#,
        "2 shipit 0.9.0\n",
    );
}

#[test]
fn look_tree_lists_releases_and_what_current_holds() {
    check(
        r#"mkdir "$root/releases/1" "$root/releases/2"; ln -s releases/1 "$root/current"; newer=''
        look_tree; echo "[$others]""#,
        "current releases/1\nrelease 1\nrelease 2\n[yes]\n",
    );
}

#[test]
fn could_flip_where_mv_replaces_links_leaves_current_alone() {
    check(r#"could_flip && ls -A "$root" | grep -c current"#, "0\n");
}

#[test]
fn merge_stripes_takes_a_block_from_each_descriptor_in_turn() {
    check(
        r#"block() { dd if=/dev/zero bs=1048576 count=1 2>/dev/null | tr '\0' "$1"; }
        descriptors='0 3'; make_stripe 3
        { block b; printf d; } >"$run_dir/stripe.3" &
        { block a; block c; } | merge_stripes | tr -s abcd"#,
        "abcd",
    );
}

#[test]
fn unpack_of_each_codec_makes_the_same_tree() {
    check(
        r"printf hello >f; tar -cf t f; rm f; unpack plain <t; cat f; rm f
        gzip -c t | unpack gzip; cat f",
        "hellohello",
    );
}

#[test]
fn as_pattern_escapes_a_name_for_find() {
    check(r#"as_pattern 'a[1]*\b'; printf '%s\n' "$pattern""#, "a\\[1\\]\\*\\\\b\n");
    check(r#"as_pattern plain; echo "$pattern""#, "plain\n");
}

#[test]
fn listing_of_a_tree_has_digests_and_leaves_the_env_file_out() {
    check(
        r"mkdir -p t/sub; printf hello >t/sub/f; chmod 444 t/sub/f; ln -s sub/f t/l; printf x >t/.env
        listing t .env | LC_ALL=C sort",
        "d ./sub\nf 444 5 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 ./sub/f\n\
         l ./l -> sub/f\n",
    );
}

#[test]
fn differences_of_two_manifests_say_what_was_and_what_is() {
    check(
        r"printf 'd ./a\nf 444 1 x ./b\n' >was; printf 'd ./a\nf 555 1 x ./b\n' >is
        differences was is listing | LC_ALL=C sort",
        "is f 555 1 x ./b\nwas f 444 1 x ./b\n",
    );
}

#[test]
fn range_of_a_file_is_exact() {
    check(
        "printf 0123456789 >f; range f 3 4 2>/dev/null; echo; range f 9 1 2>/dev/null",
        "3456\n9",
    );
}

/// A stage with one large file to be made from `releases/1/f`.
const RECIPE: &str = r#"mkdir -p stage/tree stage/meta "$root/releases/1"
    printf 0123456789 >"$root/releases/1/f"; printf abcdef >stage/meta/fresh; : >stage/tree/f
    printf 'old 1/f\nnew f\ncopy 0 4\nfresh 2 3\ncopy 8 2\nmode 444\n' >stage/meta/recipe; "#;

#[test]
fn rebuild_by_a_recipe_puts_ranges_together() {
    check(
        &format!("{RECIPE} rebuild stage; cat stage/tree/f; stat -c ' %a' stage/tree/f"),
        "0123cde89 444\n",
    );
}

#[test]
fn rebuild_without_the_old_file_names_what_could_not_be_made() {
    check(
        &format!("{RECIPE} rm \"$root/releases/1/f\"; rebuild stage | head -n 1"),
        "f could not be put together from its old version\n",
    );
}

const SUM_OF_HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[test]
fn make_manifest_on_a_base_takes_lines_away_and_adds_some() {
    check(
        r#"printf 'd ./a\nd ./c\n' >"$root/.shipit/manifests/1"; mkdir meta; manifest=$PWD/whole
        echo 'd ./c' >meta/gone; echo 'd ./b' >meta/new; printf 'd ./a\nd ./b\n' >expected
        sum=$(sha256sum <expected); make_manifest meta 1 "${sum%% *}" && cat whole
        make_manifest meta 1 0"#,
        "d ./a\nd ./b\nthe manifest is not the one that was sent\n",
    );
}

#[test]
fn read_back_of_other_bytes_names_the_file() {
    let lines =
        format!("echo 'f 444 5 {SUM_OF_HELLO} ./f' >sent; mkdir -p stage/tree stage/meta; ");
    check(
        &format!("{lines} printf hello >stage/tree/f; read_back stage/tree sent && echo good"),
        "good\n",
    );
    check(
        &format!(
            "{lines} printf jello >stage/tree/f; read_back stage/tree \"$PWD/sent\" | head -n 2"
        ),
        "other bytes than were sent:\n./f: FAILED\n",
    );
    check(
        &format!(
            "{lines} echo '{SUM_OF_HELLO} ./f' >stage/meta/read; read_back stage/tree sent && echo known"
        ),
        "known\n",
    );
}

#[test]
fn was_sent_is_true_of_files_that_came_with_their_bytes() {
    check(
        r"sent=$PWD/sent; echo 'f 444 5 x ./a b' >sent; echo './a b' >names; was_sent names && echo yes
        echo ./c >>names; was_sent names || echo no",
        "yes\nno\n",
    );
}

#[test]
fn print_partial_upload_says_what_arrived_and_of_what() {
    check(
        r#"mkdir -p up.run0/tree up.run0/meta; printf digest >up.run0/meta/of; printf hello >up.run0/tree/f
        chmod 444 up.run0/tree/f; print_partial_upload "$PWD/up.run0""#,
        "part digest up.run0\nfile 444 5 ./f\n",
    );
}

#[test]
fn make_shared_gives_a_directory_its_mode() {
    check(r#"make_shared "$root/shared/log" 750 ''; stat -c %a "$root/shared/log""#, "750\n");
}

#[test]
fn link_one_over_an_entry_of_the_build_is_refused() {
    check(
        r#"release=$root/releases/1; mkdir -p "$release/log"
        link_one d log '' '' ../../shared/log; link_one d tmp/x '' '' ../../../shared/tmp/x
        readlink "$release/tmp/x"; cat "$tmp/extra"; echo "$nested""#,
        "the release already holds log\n../../../shared/tmp/x\nl ./tmp/x -> ../../../shared/tmp/x\nyes\n",
    );
}

#[test]
fn has_no_odd_entry_of_a_pipe_fails_with_6() {
    check(
        r#"release=$PWD/r; mkdir r; has_no_odd_entry && echo fine; mkfifo r/p; has_no_odd_entry >/dev/null; echo "$?""#,
        "fine\n6\n",
    );
}

#[test]
fn veiled_text_hides_values_of_env_files() {
    check(
        r#"mkdir -p "$root/releases/1"; echo 'TOKEN="s3cret value"' >"$root/releases/1/.env"
        echo 'it was s3cret value, twice s3cret value' | veiled"#,
        "it was ***, twice ***\n",
    );
}

/// The host finds the values in a file for any reader.
#[test]
fn veiled_text_hides_values_of_every_format() {
    for (format, file) in [
        (
            "systemd",
            r#"ONE="it's \"a\" \$b
and \`more\` \\ of it"
TWO="plain value""#,
        ),
        (
            "shell",
            r#"ONE="it's \"a\" \$b
and \`more\` \\ of it"
TWO='plain value'"#,
        ),
        ("docker", "ZERO=\"no end\nONE=it's \"a\" $b\nEND='and `more` \\ of it\nTWO=plain value"),
        (
            "json",
            r#"{
  "ONE": "it's \"a\" $b\nand `more` \\ of it",
  "TWO": "plain value"
}"#,
        ),
    ] {
        check(
            &format!(
                r#"mkdir -p "$root/releases/1"; cat >"$root/releases/1/.env" <<'END_OF_FILE'
{file}
END_OF_FILE
                cat >said <<'END_OF_FILE'
{format}: it's "a" $b, and `more` \ of it, plain value
END_OF_FILE
                veiled <said"#
            ),
            &format!("{format}: ***, ***, ***\n"),
        );
    }
}

#[test]
fn printed_after_a_cut_has_no_torn_line() {
    check(
        r"{ yes line | head -n 20000; printf thr; } >f; told=0; cut_short f 100003
        printf 'ee\nfour\n' >f; printed f | tail -n 2",
        "line\nfour\n",
    );
}

#[test]
fn flip_replaces_the_link_and_leaves_nothing_behind() {
    check(
        r#"mkdir "$root/releases/1" "$root/releases/2"; ln -s releases/1 "$root/current"
        flip releases/2 && readlink "$root/current"; points_to releases/1 || echo elsewhere
        ls -a "$root" | grep -c '^.current'"#,
        "releases/2\nelsewhere\n0\n",
    );
}

#[test]
fn forget_begun_keeps_only_other_releases_that_are_there() {
    check(
        r#"printf '1\n2\n3\n' >"$unfinished"; mkdir "$root/releases/1" "$root/releases/3"; candidate=3
        forget_begun; cat "$unfinished""#,
        "1\n",
    );
}

#[test]
fn recent_log_since_the_restart_shows_only_new_lines() {
    check(
        r#"printf 'old\n' >log; log=$PWD/log; logged=4 since=5; printf 'new\n' >>log
        recent 9 | sed "s|$PWD/||""#,
        "log since the restart:\nnew\n",
    );
}

#[test]
fn recent_log_that_leads_elsewhere_is_not_shown() {
    check(
        r#"ln -s /etc/passwd log; log=$PWD/log; recent 9 | sed "s|$PWD/||""#,
        "log is a link to elsewhere, and not shown\n",
    );
}

/// A curl that answers with these bytes.
fn curl(answer: &str) -> String {
    format!(
        r#"mkdir bin; cat >bin/curl <<'END'
#!/bin/sh
cat >"{request}"
printf 'HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 {answer}\r\n' >"{head}"
printf body
END
        chmod +x bin/curl; PATH=$PWD/bin:$PATH; "#,
        request = "${0%/*}/request",
        head = "${0%/bin/*}/tmp/head",
    )
}

#[test]
fn fetch_by_curl_gives_status_and_body_and_hides_the_request() {
    let lines = "locked_order_fetch within=1 request='url = x' connect= trust=public wanted=; \
                 cat bin/request";
    check(&(curl("503 No") + lines), "503 found\nbody\nurl = x\n");
}

#[test]
fn fetch_by_curl_looks_for_the_text_in_the_body_without_masks() {
    let fetch = |wanted: &str| {
        let lines = "veiled() { echo masked; }; \
                     locked_order_fetch within=1 request=x connect= trust=public wanted=";
        curl("200 OK") + lines + wanted
    };
    check(&fetch("od"), "200 found\nmasked\n");
    check(&fetch("masked"), "200\nmasked\n");
    check(&fetch("'.*'"), "200\nmasked\n");
    check(&fetch("'bo\ndy'"), "200\nmasked\n");
}

#[test]
fn note_env_file_keeps_each_name_but_the_default_once() {
    check(
        r#"for name in one.env .env 'two words.env' one.env; do note_env_file "$name"; done
        cat "$root/.shipit/env-files""#,
        "one.env\ntwo words.env\n",
    );
}

#[test]
fn was_active_and_never_stopped_compare_the_unit_with_before() {
    check(
        r"action=restart; unit_show() { echo ActiveState=active; }
        unit_before=ActiveState=inactive; was_active || echo 'did not run'
        unit_before=ActiveState=active; never_stopped && echo 'same start'
        unit_before='ActiveState=active InvocationID=1'; never_stopped || echo 'new start'",
        "did not run\nsame start\nnew start\n",
    );
}

/// Three units as the greeting names them, and what stands for systemd.
const UNITS: &str = r#"word() { printf "'service=%s' 'scope=user' 'target=%s' 'action=%s' 'limit=9' 'log='" "$@"; }
    quoted() { printf "'%s' " "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }
    services=$(quoted "$(word web web.service restart)"; quoted "$(word sock a.socket start)"
        quoted "$(word beat beat.timer none)"); flipped=''
    privileged() { [ "$1" = reset-failed ] || echo "$1 $target"; }
    is_active() { echo "active? $target"; }
    unit_show() { echo "ActiveState=active InvocationID=$inv"; }
    inv=1; count_services; "#;

#[test]
fn select_service_sets_what_is_known_of_each() {
    check(
        &(UNITS.to_owned()
            + r#"tell() { echo "$number $service $scope $target $action $limit [$log]$whose $unit_before"; }
            select_service 2; unit_before_2='as before'; each_service tell
            services=''; count_services; each_service tell; echo "$service_count $scope""#),
        "1 web user web.service restart 9 [] of web.service \n\
         2 sock user a.socket start 9 [] of a.socket as before\n\
         3 beat user beat.timer none 9 [] of beat.timer \n0 none\n",
    );
}

#[test]
fn each_service_ends_with_the_first_that_fails() {
    check(
        &(UNITS.to_owned()
            + r#"visit() { echo "$1 $number"; [ "$number" != 2 ]; }
            each_service visit x || echo "failed at $target""#),
        "x 1\nx 2\nfailed at a.socket\n",
    );
}

#[test]
fn services_start_in_order_and_revert_in_opposite_order() {
    check(
        &(UNITS.to_owned()
            + r#"each_service note_unit; each_service start_release; echo "$touched"
            inv=2 back=releases/1; restart_all_previous"#),
        "restart web.service\nstart a.socket\n3\n\
         start a.socket\nactive? a.socket\nrestart web.service\nactive? web.service\n",
    );
}

#[test]
fn revert_leaves_alone_what_was_not_touched_and_is_as_before() {
    let untouched = "each_service note_unit; touched=0 back=releases/1; ";
    check(&(UNITS.to_owned() + untouched + "restart_all_previous; echo $?"), "0\n");
    // systemd itself restarted it from the new release.
    check(
        &(UNITS.to_owned() + untouched + "inv=2; restart_all_previous"),
        "start a.socket\nactive? a.socket\nrestart web.service\nactive? web.service\n",
    );
}

#[test]
fn revert_stops_a_unit_that_was_only_started_unless_it_ran_before() {
    let touched = "inv=2 touched=2 back=releases/1; select_service 2; restart_previous";
    let down = "unit_before_2=ActiveState=inactive; is_down() { true; }; ";
    check(&(UNITS.to_owned() + down + touched), "stop a.socket\n");
    // After a cut it is not known.
    check(&(UNITS.to_owned() + touched), "start a.socket\nactive? a.socket\n");
}

/// A host that goes down sends TERM to each process of a session, also to an agent that reverts.
#[test]
fn signal_in_the_exit_trap_does_not_make_a_failed_step_count_as_done() {
    check(
        r#"undecided=2 candidate=2 into='' back=releases/1 reverted='reverted ""' failed='failed ""'
        ending='end of input' hears='' watcher='' cause='' owed=$root/.shipit/owed reverted_hooks=''
        mkdir "$root/releases/1" "$root/releases/2"; ln -s releases/2 "$root/current"
        record() { printf '%s, live: ' "$1" >>said; command readlink "$root/current" >>said; }
        readlink() { kill -TERM "$$"; kill -HUP "$$"; command readlink "$@"; }
        unlock() { rm -f "$lock"; }
        trap 'end_conversation; cat said' EXIT
        exit 0"#,
        "reverted, live: releases/1\n",
    );
}

/// A daemon that a command starts must end when it is told to.
#[test]
fn commands_heed_signals_also_while_a_conversation_ends() {
    check(
        r#"ignore_signals; within=5 limit=5 hook_shell='/bin/sh -c' id=1 vars='' place=switched
        enter_live() { cd "$root"; }; enter_candidate() { cd "$root"; }; mkdir "$root/releases/1"
        dies='kill -TERM $$; echo lives'
        command=$dies; run_in_release; echo "$?"; run_in_place; echo "$?"
        run_service_command "$dies"; echo "$?"; timeout 5 sh -c "$dies"; echo "$?""#,
        "143\n143\n143\n143\n",
    );
}

#[test]
fn revert_goes_on_after_a_service_that_failed() {
    check(
        &(UNITS.to_owned()
            + r#"each_service note_unit; touched=3 inv=2 back=releases/1
            start_interval() { echo 0; }
            is_active() { [ "$target" = web.service ]; }; restart_all_previous; echo "$?""#),
        "start a.socket\nstart a.socket\nrestart web.service\n1\n",
    );
}

#[test]
fn add_members_puts_the_units_of_a_target_after_all_services() {
    check(
        r#"services="'service=all scope=user limit=9 log= action=restart target=all.target' 'service=b scope=user limit=9 log= action=restart target=b.service'"
        unit_show() { printf 'Wants=x@1.service y.timer no.mount\nRequires=b\\x2dc.service basic.target\n'; }
        tell() { printf '%s\n' "$service $action $target"; }; count_services; each_service tell"#,
        "all restart all.target\nb restart b.service\nall member x@1.service\nall member y.timer\n\
         all member b\\x2dc.service\n",
    );
}

#[test]
fn value_of_takes_the_last_line_of_that_name() {
    check(
        r#"value_of B "A=1${nl}B=2${nl}AB=3"; echo "[$value]"; value_of C A=1; echo "[$value]"
        ended_well "Type=oneshot${nl}Result=success" && echo well
        ended_well "Type=oneshot${nl}Result=exit-code" || echo ill; ended_well Type=simple || echo no"#,
        "[2]\n[]\nwell\nill\nno\n",
    );
}

#[test]
fn look_at_workers_names_new_ones_and_those_in_the_release() {
    let group = r#"group=$(sed -n 's/^0:://p' /proc/self/cgroup); number=1 unit_pid=$$
        echo "ControlGroup=$group" >"$tmp/unit.1"; mkdir -p "$root/releases/1/bin"
        [ -r "/sys/fs/cgroup$group/cgroup.procs" ] && [ "$group" != / ] || { echo renewed; exit; }
        flipped=$(started self); "#;
    check(&(group.to_owned() + "sleep 9 & look_at_workers 1; kill $!"), "renewed\n");
    let inside = "(cd \"$root/releases/1/bin\" && exec sleep 9) & sleep 0.1; \
                  look_at_workers 1 | head -n 1 | sed s/worker/renewed/; kill $!";
    check(&(group.to_owned() + inside), "renewed\n");
}

#[test]
fn is_in_is_true_of_a_process_below_the_release() {
    check(
        r#"mkdir -p "$root/releases/1/bin" "$root/releases/2"
        cd "$root/releases/1/bin"; is_in "$$" 1 && echo 1; is_in "$$" 2 || echo 'not 2'"#,
        "1\nnot 2\n",
    );
}

#[test]
fn append_after_a_torn_line_begins_anew() {
    check(r#"printf torn >"$ledger"; append "$ledger" whole; cat "$ledger""#, "torn\nwhole\n");
}

#[test]
fn fill_puts_time_and_reason_in_their_places() {
    check(
        r#"now=NOON reason='no word'; fill 'at @now@, because @reason@'; echo "$filled""#,
        "at NOON, because no word\n",
    );
    check(r#"now=NOON; fill plain; echo "$filled""#, "plain\n");
}

#[test]
fn keyed_digest_is_the_inner_one_of_hmac() {
    let key = "0123456789abcdef".repeat(4);
    let masked: Vec<_> = key.bytes().map(|byte| byte ^ 0x36).collect();
    let inner = Digest::of(&[masked.as_slice(), b"A=1\n"].concat());
    check(
        &format!("printf {key} >\"$root/.shipit/key\"; echo A=1 >env; keyed env"),
        &format!("{inner}\n"),
    );
    // Worked out with openssl's HMAC.
    let whole = "d08a8dfb43b94810f8d84b4934e134ce9f2c9c83a809f0cec44bcea33749acfa";
    assert_eq!(Digest::keyed_from_inner(key.as_bytes(), inner).to_string(), whole);
}

#[test]
fn history_of_a_longer_ledger_says_how_long_it_is() {
    check(
        r#"printf '%s\n' one two three >"$ledger"; order_history lines=2"#,
        "lines 3\nledger two\nledger three\n",
    );
}

#[test]
fn prune_of_what_is_live_or_no_release_is_refused() {
    check(
        r#"mkdir "$root/releases/1"; ln -s releases/1 "$root/current"
        locked_order_prune name=1 line=x note=y; locked_order_prune name=../1 line=x note=y
        ls "$root/releases""#,
        "1 is live\n../1 is not a release\n1\n",
    );
}

#[test]
fn clean_up_keeps_what_is_named_and_what_is_ours() {
    check(
        r#"mkdir -p "$root/releases/.20260821090001.run0" "$root/releases/.20260821090002.run0" \
            "$root/.shipit/trash/1.run0"
        locked_order_sweep keep=.20260821090002.run0; ls -A "$root/releases" "$root/.shipit/trash" | grep run
        ls "$root/.shipit/run""#,
        ".20260821090002.run0\nrun1\n",
    );
}

#[test]
fn names_of_values_are_kept_for_their_owner_until_the_release_is_gone() {
    check(
        r#"umask 022; for id in 20260821090001 20260821090002; do
            mkdir -p "$root/releases/.$id.run1/meta" "$root/releases/$id"
            : >"$root/releases/.$id.run1/meta/e0"
            locked_order_env id=$id from=e0 file=.env mode=600 group= keys="file .env${nl}A 12$nl"
        done
        (cd "$root/.shipit/env" && stat -c '%a %n' *; cat 20260821090001)
        rm -rf "$root/releases/20260821090001"; locked_order_sweep keep=; ls "$root/.shipit/env""#,
        "600 20260821090001\n600 20260821090002\nfile .env\nA 12\n20260821090002\n",
    );
}

#[test]
fn access_to_a_directory_is_mode_owner_group_and_path() {
    check("mkdir d; chmod 750 d; access d | cut -d ' ' -f 1,4", "750 d\n");
}

#[test]
fn probe_path_of_a_missing_file_says_gone() {
    check(
        r#"mkdir d; probe_path "$PWD/d" | sed "s|$PWD/||"; probe_path "$PWD/d/x/y" | sed "s|$PWD/||""#,
        "there d\ngone d/x/y\n",
    );
}

/// No file may be left out of what is sent.
#[test]
fn every_file_is_part_of_the_script() {
    for (path, text) in files() {
        assert!(SCRIPT.contains(text.trim_end()), "{path} is not part of the script");
    }
}

/// A live release 1 in the slot blue, and release 2 that goes into green.
const SLOTS: &str = r#"mkdir -p "$root/releases/1" "$root/releases/2" "$root/slots"; slots='blue green'
    ln -s releases/1 "$root/current"; ln -s ../releases/1 "$root/slots/blue"
    service_count=0 slot=green slot_port=8082 candidate=2 into=yes slot_was='' moved='' drain=1
    keep_warm=0 partly='' old_slot=blue variables='' limit=5 hears='' watcher=''; make_token; "#;

#[test]
fn find_live_slot_takes_the_one_that_leads_to_what_is_live() {
    check(
        &format!(
            r#"{SLOTS} find_live_slot; echo "$slot $live_slot"; rm "$root/slots/blue"
            slot=green; find_live_slot; echo "$slot [$live_slot]""#
        ),
        "blue blue\nblue []\n",
    );
}

#[test]
fn set_slot_writes_the_port_and_makes_the_link() {
    check(
        &format!(
            r#"{SLOTS} set_slot ../releases/2; readlink "$root/slots/green"; cat "$root/slots/green.env"
            ls -A "$root/slots""#
        ),
        "../releases/2\nPORT=8082\nSLOT=green\nblue\ngreen\ngreen.env\n",
    );
}

#[test]
fn replace_file_of_a_directory_fails() {
    check(
        "echo one >a; echo two >b; replace_file b a; cat b; ls; mkdir c; replace_file c a || ls c",
        "one\na\nb\nsrv\ntmp\nc is a directory\n",
    );
}

#[test]
fn move_traffic_writes_the_file_and_tells_the_command_the_slot() {
    check(
        &format!(
            r#"{SLOTS} reverting='' traffic_file=$root/shared/up hook_shell='/bin/sh -c'
            traffic_command='echo "$SHIPIT_SLOT $SHIPIT_PORT"; cat "$OLDPWD/srv/shared/up"; pwd -P | sed s,.*/,,'
            move_traffic green 8082 "server it's \$one;"; cd /; traffic_command='exit 3'
            move_traffic green 8082 two || cat "$traffic_file""#
        ),
        "green 8082\nserver it's $one;1\n\nthe traffic command exited with code 3\ntwo",
    );
}

#[test]
fn leave_slot_of_a_release_that_was_reverted_has_its_link_as_before() {
    check(
        &format!(
            r#"{SLOTS} ln -s ../releases/2 "$root/slots/green"; leave_slot; ls "$root/slots"
            ln -s ../releases/2 "$root/slots/green"; slot_was=../releases/0; leave_slot
            readlink "$root/slots/green"; leave_slot; readlink "$root/slots/green""#
        ),
        "blue\n../releases/0\n../releases/0\n",
    );
}

#[test]
fn drain_of_a_slot_that_is_needed_again_is_ended() {
    check(
        &format!(
            r#"{SLOTS} live_slot=blue drain=30; drain_slot green; read -r drainer _ <"$root/slots/green.drain"
            is_alive "$drainer" && echo alive; end_drain green; sleep 0.2; is_alive "$drainer" || echo ended
            ls "$root/slots"; drain=1; drain_slot green; wait; ls "$root/slots""#
        ),
        "alive\nended\nblue\nblue\n",
    );
}

#[test]
fn every_file_with_functions_has_a_test_here() {
    let tests = include_str!("functions.rs");
    for (path, text) in files() {
        let mut names =
            text.lines().filter_map(|line| line.split_once("() ")).map(|(name, _)| name);
        let tested = names.any(|name| tests.contains(name.trim_start_matches("order_")));
        let has_none = path.ends_with("00-state.sh") || path.ends_with("99-main.sh");
        assert!(tested || has_none, "no function of {path} has a test");
    }
}

fn files() -> Vec<(String, String)> {
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/remote/agent")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn keep_files_takes_what_each_release_brought_itself() {
    check(
        r#"for id in 1 2; do
            mkdir -p "$root/releases/$id/pub lic/a" && cd "$root/releases/$id/pub lic"
            echo "$id" >"a/x$id"; echo all >b; touch -d 2001-01-01 b a/*; cd "$root"
            listing "$root/releases/$id" '' >"$root/.shipit/manifests/$id"
        done
        id=3 release=$root/releases/3 from='2 1' nested=''
        mkdir -p "$release/pub lic" "$root/.shipit/kept"; echo new >"$release/pub lic/b"
        : >"$root/.shipit/kept/0"; keep_files 'pub lic' other; ls "$root/.shipit/kept"
        sed 's/[0-9a-f]\{64\}/SUM/' "$tmp/extra"; echo "$nested"
        id=4 release=$root/releases/4 from=3 && mkdir "$release" && : >"$tmp/extra"
        cp "$tmp/extra" "$root/.shipit/manifests/3"; keep_files 'pub lic'; ls "$root/.shipit/kept""#,
        "2\n3\nf 644 2 SUM ./pub lic/a/x2\nf 644 2 SUM ./pub lic/a/x1\nyes\n0\n3\n",
    );
}

#[test]
fn probe_flag_prints_when_a_file_was_written() {
    check(
        r#"probe_flag down.html; touch -d @1756000000 "$root/shared/down.html"; probe_flag down.html"#,
        "1756000000\n",
    );
}

#[test]
fn print_unit_prints_the_units_of_one_scope() {
    check(
        "target=a.service; for scope in system user; do print_unit system; echo; done",
        " -u a.service\n\n",
    );
}

#[test]
fn note_end_records_a_command_once() {
    check(
        r#"veiled() { cat; }; record() { echo "$1 for $reason" >&2; }; exec 2>&1
        reason=ls ran='code @code@!'; note_end 3; note_end 143"#,
        "code 3! for ls\n",
    );
}

#[test]
fn is_image_part_knows_the_names_of_both_kinds_of_archives() {
    check(
        r#"digest=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        for name in blobs index.json manifest.json oci-layout repositories "$digest" \
            "$digest.json" "$digest.tar" env.json REVISION "${digest}0.tar" shared "g${digest#0}"; do
            ! is_image_part "$name" || echo "$name" | sed "s/$digest/DIGEST/"
        done"#,
        "blobs\nindex.json\nmanifest.json\noci-layout\nrepositories\nDIGEST\nDIGEST.json\nDIGEST.tar\n",
    );
}

/// `find_holder` takes its time: the run that holds the lock may end meanwhile.
#[test]
fn look_holder_names_a_run_that_ends_meanwhile() {
    check(
        r#"locked='' deploy_lock=$root/.shipit/none holder_pid=7; : >"$tmp/strange"
        echo 'bob on laptop' >"$lock"; find_holder() { holder_run=run2; : >"$lock"; }; look_holder
        look_holder"#,
        "holder bob on laptop\nowner 7 run2\n",
    );
}
