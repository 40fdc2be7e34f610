//! Rules for names in a release, and for the targets of its symbolic links.

use super::error::Refusal;

/// Linux takes 4096 with the final NUL; `deploy_to` and the release's id come before ours.
const LONGEST_PATH: usize = 4000;
const LONGEST_NAME: usize = 255;
/// Build tools write a dozen at most.
const MOST_PARTS: usize = 256;
/// Linux follows this many before it gives up.
const MOST_LINKS: usize = 40;

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

/// Follows the link at `path` step by step, as the kernel would below a directory where `link_at`
/// returns the targets of links. An entry that is missing counts as a directory: hooks may make it
/// later. Each step counts down `left`; at 0 no further one is taken. Returns why the link is
/// refused.
pub(super) fn follow(
    path: &str,
    link_at: impl Fn(&str) -> Option<String>,
    left: &mut usize,
) -> Result<(), Refusal> {
    let Some(own) = link_at(path) else { return Ok(()) };
    let leaves = || Refusal::LinkLeaves { target: own.clone() };
    let (mut here, mut ahead) = (path.to_owned(), Vec::new());
    let (mut link, mut links) = (Some(own.clone()), 0);
    loop {
        if let Some(target) = link {
            if target.starts_with('/') {
                return Err(leaves());
            }
            if links > MOST_LINKS {
                return Err(Refusal::LinkCircle { target: own });
            }
            links += 1;
            leave(&mut here);
            let parts: Vec<_> = parts(&target).map(str::to_owned).collect();
            ahead.extend(parts.into_iter().rev());
        }
        let Some(part) = ahead.pop() else { return Ok(()) };
        let Some(rest) = left.checked_sub(1) else { return Ok(()) };
        *left = rest;
        if part == ".." {
            leave(&mut here).then_some(()).ok_or_else(leaves)?;
            link = None;
            continue;
        }
        if !here.is_empty() {
            here.push('/');
        }
        here.push_str(&part);
        if here.len() > LONGEST_PATH {
            return Err(Refusal::LinkTarget);
        }
        link = link_at(&here);
    }
}

/// Cuts off the last part of `path`. Returns whether there was one.
fn leave(path: &mut String) -> bool {
    let there = !path.is_empty();
    path.truncate(path.rfind('/').unwrap_or_default());
    there
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}
