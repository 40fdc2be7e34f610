//! `docs/protocol.md` says what the orders of the program and the functions of the script are.

use std::collections::{BTreeMap, BTreeSet};

use shipit::model::digest::Digest;
use shipit::model::host_state::LockHolder;
use shipit::remote::order::{Fetch, Hidden, ManifestOf, Relist, ServiceName};

use super::*;

fn fetch() -> Fetch {
    let hidden = || Hidden(String::new());
    Fetch { request: hidden(), connect: None, trust: String::new(), wanted: hidden() }
}

/// One order of each kind, and the one place that does not compile when a kind is added.
fn orders() -> Vec<Order> {
    let (id, limit, digest) = (ID.parse().unwrap(), Duration::from_secs(5), Digest::of(b""));
    let (text, record) = (String::new, Record::default);
    let of_kind = |order: &Order| match order {
        Order::Lock => Order::Look,
        Order::Look => Order::Unpack { id, codec: Codec::Plain, size: 0 },
        Order::Unpack { .. } => Order::Check { id, base: None, digest },
        Order::Check { .. } => Order::Discard { id },
        Order::Discard { .. } => Order::Base,
        Order::Base => Order::Manifest { id, of: ManifestOf::Artifact, after: 0 },
        Order::Manifest { .. } => Order::Link { id, links: Vec::new() },
        Order::Link { .. } => {
            Order::Env { id, from: text(), file: text(), mode: text(), group: None, keys: text() }
        }
        Order::Env { .. } => Order::Revision { id, revision: text() },
        Order::Revision { .. } => Order::Keep { id, from: Vec::new(), paths: Vec::new() },
        Order::Keep { .. } => {
            Order::Hook { name: "staged", id, command: text(), vars: Vec::new(), limit }
        }
        Order::Hook { .. } => Order::Try { id, command: text(), vars: Vec::new(), limit },
        Order::Try { .. } => Order::Fetch { limit, fetch: fetch() },
        Order::Fetch { .. } => Order::Mask { text: Hidden(text()) },
        Order::Mask { .. } => Order::Reach { limit, address: text() },
        Order::Reach { .. } => Order::Seal { id, relist: Relist::Keep, env: Vec::new() },
        Order::Seal { .. } => Order::Units { id },
        Order::Units { .. } => Order::Image { id },
        Order::Image { .. } => Order::Stage { id, record: record() },
        Order::Stage { .. } => Order::Activate(Box::new(activation())),
        Order::Activate(_) => Order::Resume(Box::new(activation())),
        Order::Resume(_) => Order::Switch { again: false, hooks: limit },
        Order::Switch { .. } => Order::Judge { id },
        Order::Judge { .. } => commit(),
        Order::Commit { .. } => revert(),
        Order::Revert { .. } => Order::Conclude {
            activation: Box::new(activation()),
            verdict: HookPlace::Reverted,
            reason: Some(RevertReason::FoundReverted),
        },
        Order::Conclude { .. } => Order::Record(record()),
        Order::Record(_) => Order::Prune { name: text(), record: record() },
        Order::Prune { .. } => Order::CleanUp { keep: None },
        Order::CleanUp { .. } => {
            Order::Journal { lines: 1, service: Some(ServiceName { name: text(), unit: text() }) }
        }
        Order::Journal { .. } => Order::Probe { shared: Vec::new(), ports: Vec::new() },
        Order::Probe { .. } => Order::Flag { path: text() },
        Order::Flag { .. } => Order::History { lines: 1 },
        Order::History { .. } => Order::Verify { id, env: Vec::new() },
        Order::Verify { .. } => Order::Drift { env: Vec::new() },
        Order::Drift { .. } => Order::SetDeployLock { record: text(), note: text() },
        Order::SetDeployLock { .. } => Order::ClearDeployLock { record: text(), note: text() },
        Order::ClearDeployLock { .. } => Order::Break { run: text(), limit },
        Order::Break { .. } => Order::Bye,
        Order::Bye => Order::Lock,
    };
    let mut all = vec![Order::Lock];
    while all.last() != Some(&Order::Bye) {
        all.push(of_kind(all.last().unwrap()));
    }
    all
}

/// The rows of the page's table of orders: what stands in backquotes in the first two columns, then
/// the columns `lock` and `restarts`.
fn rows() -> BTreeMap<String, (Vec<String>, bool, bool)> {
    let page = fs::read_to_string("docs/protocol.md").unwrap();
    let table = page.split("\n## Orders\n").nth(1).unwrap();
    let quoted =
        |cell: &str| cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').skip(1).collect();
        let [verb, arguments, lock, restarts] = [cells[0], cells[1], cells[2], cells[3]];
        let set = |cell: &str, word| cell.trim() == word;
        (quoted(verb).remove(0), (quoted(arguments), set(lock, "lock"), set(restarts, "restarts")))
    })
    .collect()
}

#[test]
fn the_page_lists_every_order_as_the_program_sends_it() {
    let sent = orders().into_iter().map(|order| {
        let (spec, names) = (order.spec(), order.arguments().into_iter());
        let names: Vec<_> = names.map(|(name, _)| name.to_owned()).collect();
        (spec.verb.to_owned(), (names, spec.needs_lock, spec.restarts))
    });
    assert_eq!(rows(), sent.collect::<BTreeMap<_, _>>());
}

/// The functions of the script whose names begin with `prefix`, without it.
fn functions(prefix: &str) -> BTreeSet<&'static str> {
    let names = SCRIPT.lines().filter_map(|line| line.strip_suffix("() {")?.strip_prefix(prefix));
    names.collect()
}

#[test]
fn the_script_has_a_function_for_every_order() {
    let verbs = |locked: bool| {
        let orders = orders().into_iter().map(|order| order.spec());
        let orders = orders.filter(|spec| spec.needs_lock == locked && spec.verb != "bye");
        orders.map(|spec| spec.verb).collect::<BTreeSet<_>>()
    };
    assert_eq!(functions("order_"), verbs(false));
    assert_eq!(functions("locked_order_"), verbs(true));
}

/// The text of a function of the script.
fn body(function: &str) -> &'static str {
    let start = SCRIPT.find(&format!("\n{function}() {{\n")).unwrap();
    let rest = &SCRIPT[start..];
    &rest[..rest.find("\n}\n").unwrap()]
}

/// An argument that sets nothing which the function has for its own, or for the conversation, would
/// be lost or would linger.
#[test]
fn every_argument_is_a_variable_of_its_function() {
    let declared = declared();
    for order in orders() {
        let spec = order.spec();
        let function = match (spec.verb, spec.needs_lock) {
            ("bye", _) => continue,
            ("activate" | "resume" | "conclude", _) => "remember".to_owned(),
            (verb, true) => format!("locked_order_{verb}"),
            (verb, false) => format!("order_{verb}"),
        };
        let body = body(&function);
        let locals = body.lines().filter_map(|line| line.trim_start().strip_prefix("local "));
        let locals: Vec<_> = locals.flat_map(|names| names.split(' ')).collect();
        for (name, _) in order.arguments() {
            let known = locals.contains(&name) || declared.contains(&name);
            assert!(known, "{function} has no variable {name}");
            assert!(body.contains("arguments \"$@\""), "{function} reads no arguments");
        }
    }
}

#[test]
fn every_function_of_the_script_has_a_name_of_its_own() {
    let mut names: Vec<_> = SCRIPT.lines().filter_map(|line| line.strip_suffix("() {")).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// Within a trap, bash takes a `return` without a status for that of the command before the trap.
/// The revert at the end of a conversation would then count as failed, or a failed one as done.
#[test]
fn every_return_of_the_script_names_its_status() {
    let names_none = |line: &&str| {
        let line = line.trim();
        let ends = ["&& return", "|| return"].iter().any(|end| line.ends_with(end));
        line == "return" || ends || line.contains("return ;") || line.contains("return;")
    };
    let found: Vec<_> = SCRIPT.lines().filter(names_none).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn reasons_of_reverts_are_the_words_of_the_script() {
    let beginnings = ["reason='", "ending='", "ending=", "revert_and_answer '"];
    let words =
        SCRIPT.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(|line| {
            beginnings.iter().flat_map(move |beginning| line.split(*beginning).skip(1))
        });
    let words = words.map(|rest| rest.split(['\'', ' ', ')']).next().unwrap_or_default());
    // Words in quotes may have several parts.
    let quoted = SCRIPT.split('\'').filter_map(RevertReason::read);
    // The run gives these.
    let [fleet, found_reverted] = [RevertReason::Fleet, RevertReason::FoundReverted];
    let ours = [RevertReason::Unhealthy, fleet, RevertReason::Interrupted, found_reverted];
    let named = words.filter_map(RevertReason::read).chain(quoted).filter(|it| !ours.contains(it));
    let mut found: Vec<_> = named.map(RevertReason::word).collect();
    found.sort_unstable();
    found.dedup();
    let mut known: Vec<_> =
        RevertReason::ALL.iter().filter(|it| !ours.contains(it)).map(|it| it.word()).collect();
    known.sort_unstable();
    assert_eq!(found, known);
}

#[test]
fn the_record_of_a_deploy_lock_begins_as_the_program_expects() {
    assert!(body("take_lock").contains(&format!("'{}%s", LockHolder::DEPLOY_LOCK)));
}
