# shellcheck shell=sh disable=SC3043
# The agent: everything that shipit does on a host. sshd gets it as a command; it lives as long as
# the conversation and is never installed. It runs under any POSIX shell that has `local`. However
# the conversation ends, the agent first reverts what was activated and not committed, then unlocks.
#
# There is no `set -e`: statements are chained or say `|| return 1`. Each `return` names its status:
# within a trap, bash would take that of the command before the trap. Each write to standard output
# has a time limit. Programs get no standard input, and not descriptor 9, which holds the lock.
#
# Below is the state of the conversation: each variable that one function sets and another reads.
# All other variables are `local`. The function in brackets sets the variable.
#
# The arguments of `serve`, and variables that follow from them:
#   run: the id of the run
#   root: deploy_to
#   owner: who runs it, for the lock's record
#   services: the services of this host in their order, each as words of `select_service`; then the
#     members of targets
#   service_count: how many they are
#   slots: the names of both slots, or nothing
#   images: yes where a service runs a container image
#   deadline: seconds of silence after which the conversation ends
#   env_name: the first env file of a release
#   hook_shell: the words that start a shell for hooks
#   sudo: the words of sudo, or of what is used in its place
#   veil: which values of env files are shown and which are masked, one rule a line
#   lock: the file of the run lock
#   ledger: the ledger
#   deploy_lock: the file of the deploy lock
#   run_dir: the directory of this conversation, where its channels write their names
#   unfinished: the list of releases that were begun
#   owed: the file that names a verdict whose hooks are to be run
#   tmp: the directory for files of this conversation
#
# The service that is looked at or restarted [select_service]:
#   number: its place among the services, from 1
#   service: its name in the config
#   scope: how it is run: system, user or command; none where the host has no service
#   target: the unit, or the command that restarts
#   slotted: yes if each slot has a unit of it
#   action: systemctl's verb, none (only judged), member (of a target), or the command that stops
#   limit: seconds that a restart may take
#   log: the file that a service command logs to, or nothing
#   unit_file: its unit file, where that comes with the release
#   image: the name of the container image that it runs, or nothing
#   engine: the words that start docker or podman for it
#   whose: what tells it from others in messages; nothing if it is the only one
#   unit_before: whether the unit ran before, and since when
#   logged: bytes of the log before the restart
#   unit_pid: the main process of the unit [look_unit]
#   value: that of a property [value_of]
#   allowed: yes if sudo allows any of what was asked about [look_sudo]
# `unit_before` and `logged` are kept for each service, with its number at the end of the name. Of
# $tmp, `unit.NUMBER` has what systemd said of it last, and `service.NUMBER` what its last restart
# printed.
#
# The user and the host [who_we_are]:
#   user: our name
#   uid: our number
#   groups: the groups that we are in
#   machine: the name of the host
#   boot: the id of this boot of the host [make_token]
#   token: what names our process to other agents [make_token]
#
# The clock [look_at_clock]:
#   seconds: seconds since 1970
#   now: the same as the ledger writes it
#   ticked: the second of uptime that both belong to
#   uptime: seconds since boot, with a fraction [look_at_uptime]
#
# The conversation itself:
#   heard: lines that were read and not obeyed yet
#   answer: the number of the next answer
#   codes: the exit codes of answers that wait
#   sizes: their sizes, as wc prints them [measure]
#   last: the exit code of the last order
#   ending: why the conversation ends
#   locked: yes while the run lock is ours
#   appended: files that we wrote to, and that therefore end in whole lines
#   filled: a line with the time in its place [fill]
#   reason: why a release is reverted
#   pattern: a name that find takes as it is [as_pattern]
#
# The findings of a look, for orders that came with it:
#   pointed: what `current` holds [read_current]
#   live: the release that is live, if it is ours [find_live]
#   looked: yes once `pointed` was read for this message
#   walked: the release that was walked for this message
#   slot: the slot that units are looked at in: the live one, or else the first; then that of the
#     release that is activated [find_live_slot, remember_slot]
#   live_slot: the slot that runs what is live [find_live_slot]
#   others: yes where there are releases that are not live
#   newer: what a newer shipit wrote here, or nothing [look_format]
#   key: the key of config digests
#   holder_run: the run that holds the lock
#   holder_pid: its process
#   other_pid: the process of the token that was looked at last [is_alive]
#
# The release that is made:
#   base: the release that it shares files with
#   sent: the lines of its manifest whose bytes are read back
#   nested: yes where links or env files needed further directories
#
# The release that is activated [remember]:
#   candidate: its name
#   back: what `current` held before
#   activated: the line for the ledger and that for revisions.log, as words of `record`
#   committed: the same once it stays
#   left: the same for the release that is left, or nothing
#   reverted: the same once it is reverted
#   failed: the same when it cannot be reverted
#   variables: what commands of the service and hooks get to know
#   before_switch_hooks, switched_hooks, committed_hooks, reverted_hooks: the hooks of each place,
#     for each its limit in seconds and its command
#   into: how it takes over in another slot, as words of `remember_slot`; or nothing
#   slot_port: the port of its slot
#   slot_was: what the link of its slot held before, or nothing
#   old_slot, old_port: the slot that served before, if one did
#   traffic_file: the file that says which slot gets the traffic, or nothing
#   traffic_text, old_text: what it holds while the one or the other slot serves
#   traffic_command: what is run after it was written, or nothing
#   drain, keep_warm: seconds for which a slot that was left goes on
#   filled_at: when its slot was started, in ticks since boot; nothing if it ran before
#   moved: yes if a revert found the traffic moved [return_traffic]
#   undecided: its name while it has no verdict
#   flipped: when the flip was, in ticks since boot
#   touched: how many of the services were restarted, from the first
#   reverting: yes while it is reverted
#   resumed: yes where an interrupted run has activated it
#   verdict: `committed` or `reverted`, to be concluded
#   cause: what failed, for `reverted` hooks
#   partly: what of a verdict did not go well
#   since: when its log begins
#
# A command that prints, and a channel:
#   hears: yes while the client hears what is told
#   job: the processes of a channel that prints for a person, which are ended with it
#   tag: what stands before each line that it prints
#   end_mark: a text that ends what it prints, or nothing
#   ran: the line for the ledger once its command has ended, or nothing
#   streams: the hook whose output is told while it runs
#   told: lines of its output that were told
#   dropped: lines of its output that were cut away
#   watcher: the process that looks after it, and ends a channel with the conversation
