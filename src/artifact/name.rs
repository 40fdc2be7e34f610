//! Rules for names in a release, and for the targets of its symbolic links.

use std::collections::BTreeMap;

use super::entry::{EntryKind, Item};
use super::error::Refusal;

/// Linux takes 4096 with the final NUL; `deploy_to` and the release's id come before ours.
const LONGEST_PATH: usize = 4000;
const LONGEST_NAME: usize = 255;
/// Build tools write a dozen at most.
const MOST_PARTS: usize = 256;
/// Linux follows this many before it gives up.
pub(super) const MOST_LINKS: usize = 40;

/// Returns `raw` without `.` parts and doubled slashes. `None`: the root itself.
pub(super) fn clean(raw: &[u8]) -> Result<Option<String>, Refusal> {
    let text = str::from_utf8(raw).map_err(|_| Refusal::NotUtf8)?;
    if text.chars().any(char::is_control) {
        return Err(Refusal::Control);
    }
    if text.starts_with('/') {
        return Err(Refusal::Absolute);
    }
    let parts: Vec<&str> = parts(text).collect();
    if parts.contains(&"..") {
        return Err(Refusal::DotDot);
    }
    if parts.iter().any(|part| part.len() > LONGEST_NAME) {
        return Err(Refusal::LongName);
    }
    let path = parts.join("/");
    if path.len() > LONGEST_PATH {
        return Err(Refusal::LongPath);
    }
    Ok(Some(path).filter(|path| !path.is_empty()))
}

/// Returns `raw` as the target of a symbolic link, or why it cannot be one.
pub(super) fn target(raw: &[u8]) -> Result<String, Refusal> {
    let text = str::from_utf8(raw).map_err(|_| Refusal::LinkTarget)?;
    let long = text.len() > LONGEST_PATH || parts(text).any(|part| part.len() > LONGEST_NAME);
    let long = long || parts(text).count() > MOST_PARTS;
    if text.is_empty() || long || text.chars().any(char::is_control) {
        return Err(Refusal::LinkTarget);
    }
    if text.starts_with('/') {
        return Err(Refusal::LinkAbsolute { target: text.to_owned() });
    }
    Ok(text.to_owned())
}

/// Follows the link at `path` step by step, as the kernel would in a release that holds `items`.
/// An entry that is missing counts as a directory: hooks may make it later. Each step counts down
/// `left`; at 0 no further one is taken. Returns why the link is refused.
pub(super) fn follow(
    path: &str,
    items: &BTreeMap<String, Item>,
    left: &mut usize,
) -> Result<(), Refusal> {
    let Some(own) = link_at(path, items) else { return Ok(()) };
    let leaves = || Refusal::LinkLeaves { target: own.to_owned() };
    let mut here = path.to_owned();
    leave(&mut here);
    let mut ahead: Vec<&str> = parts(own).collect();
    ahead.reverse();
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        let Some(rest) = left.checked_sub(1) else { return Ok(()) };
        *left = rest;
        if part == ".." {
            leave(&mut here).then_some(()).ok_or_else(leaves)?;
            continue;
        }
        if !here.is_empty() {
            here.push('/');
        }
        here.push_str(part);
        if here.len() > LONGEST_PATH {
            return Err(Refusal::LinkTarget);
        }
        if let Some(target) = link_at(&here, items) {
            links += 1;
            if links > MOST_LINKS {
                return Err(Refusal::LinkCircle { target: own.to_owned() });
            }
            leave(&mut here);
            ahead.extend(parts(target).collect::<Vec<_>>().into_iter().rev());
        }
    }
    Ok(())
}

/// Cuts off the last part of `path`. Returns whether there was one.
fn leave(path: &mut String) -> bool {
    let there = !path.is_empty();
    path.truncate(path.rfind('/').unwrap_or_default());
    there
}

fn link_at<'a>(path: &str, items: &'a BTreeMap<String, Item>) -> Option<&'a str> {
    match &items.get(path)?.what {
        EntryKind::Link { target } => Some(target),
        EntryKind::Dir | EntryKind::File { .. } => None,
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}
