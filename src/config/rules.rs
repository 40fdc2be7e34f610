//! Rules for single values. Each rule is a question about one text.

use super::Address;
use crate::model::slots::SLOT;

/// The form of an address, for messages.
pub(super) const ADDRESS: &str =
    "a host as in ssh, such as `web1`, `deploy@web1:2222`, `[2001:db8::1]:22` or `local`";

/// Returns whether the text can name an app, a stage or a role.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits)
}

/// Returns whether a shell takes the words as they are.
pub(super) fn are_plain_words(words: &[String]) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    words.iter().all(|word| !word.is_empty() && word.chars().all(plain))
}

/// Returns whether the text can name a container image, without a tag: lower-case parts between
/// `/`, of which the first may be a registry with its port. The rule is that of
/// <https://github.com/distribution/reference>.
pub(super) fn is_image(text: &str) -> bool {
    let (registry, path) = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) => (Some(first), rest),
        _ => (None, text),
    };
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        part.starts_with(fits)
            && part.ends_with(fits)
            && part.chars().all(|c| fits(c) || "._-".contains(c))
    };
    let registry = registry.is_none_or(|registry| {
        let (domain, digits) = registry.split_once(':').unwrap_or((registry, "443"));
        part(domain) && !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
    });
    registry && path.split('/').all(part)
}

/// Returns whether the text is an absolute path, not `/`, as `pwd` would print it.
pub(super) fn is_root(text: &str) -> bool {
    text.strip_prefix('/').is_some_and(|rest| is_clean(rest.strip_suffix('/').unwrap_or(rest)))
}

/// Returns whether the text is a relative path that does not leave its directory, in shortest form.
pub(super) fn is_clean(text: &str) -> bool {
    let part = |p: &str| !p.is_empty() && p != "." && p != "..";
    text.split('/').all(part) && !text.contains(char::is_control)
}

/// Returns whether the text can name a slot, which is an instance of a unit.
pub(super) fn is_slot(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits)
}

/// Returns whether the text can name an environment variable.
pub(super) fn is_variable(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty() && text.chars().all(fits)
}

/// Returns whether the text is an address of HTTP with a host.
pub(super) fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    !host.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

/// Returns whether the text is the name or number of a user or a group.
pub(super) fn is_account(text: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "._-@\\+$".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
}

/// Returns the bits of an octal mode, unless everybody may write.
pub(super) fn mode(text: &str) -> Option<u32> {
    let digits = text.chars().all(|c| c.is_digit(8)) && (3..=5).contains(&text.len());
    let bits = digits.then(|| u32::from_str_radix(text, 8).ok()).flatten()?;
    (bits <= 0o7777 && bits & 0o002 == 0).then_some(bits)
}

/// The most instances of a template that one name may stand for.
const MOST_INSTANCES: u32 = 100;

/// Returns the full names of units: of one, perhaps with [`SLOT`] in it, or of each instance of a
/// template as in `todo@{1..4}`.
pub(super) fn units(text: &str) -> Option<Vec<String>> {
    if let Some((stem, rest)) = text.split_once(SLOT) {
        // As it is in a slot of that name.
        let whole = unit(&format!("{stem}x{rest}"))?;
        let end = whole.strip_prefix(stem)?.strip_prefix('x')?;
        return end.ends_with(".service").then(|| vec![format!("{stem}{SLOT}{end}")]);
    }
    let Some((stem, rest)) = text.split_once("@{") else { return Some(vec![unit(text)?]) };
    let (range, end) = rest.split_once('}')?;
    let (first, last) = range.split_once("..")?;
    let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
    let few = first <= last && last - first < MOST_INSTANCES;
    let all = (first..=last).filter(|_| few).map(|number| unit(&format!("{stem}@{number}{end}")));
    few.then(|| all.collect()).flatten()
}

/// Returns the full name of a service, socket, timer or target.
fn unit(text: &str) -> Option<String> {
    const OURS: [&str; 4] = ["service", "socket", "timer", "target"];
    const OTHERS: [&str; 6] = ["path", "mount", "slice", "scope", "device", "swap"];
    let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let (stem, kind) = match text.rsplit_once('.') {
        Some((stem, kind)) if OURS.contains(&kind) => (stem, kind),
        Some((_, kind)) if OTHERS.contains(&kind) => return None,
        _ => (text, "service"),
    };
    let sane = !stem.is_empty() && !stem.starts_with(['-', '.', '@']) && !stem.ends_with('@');
    (sane && stem.len() < 240 && stem.chars().all(fits)).then(|| format!("{stem}.{kind}"))
}

/// Returns the address of a host as written: `user@host:port`, `[v6]:port`, `local`.
pub(super) fn address(text: &str) -> Option<Address> {
    if text == "local" {
        return Some(Address::Local);
    }
    let (user, place) = match text.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, text),
    };
    let (host, port) = host_and_port(place)?;
    let user_fits = user.is_none_or(is_account);
    (user_fits && is_host(host)).then(|| Address::Ssh {
        host: host.to_owned(),
        user: user.map(str::to_owned),
        port,
        fingerprint: None,
    })
}

/// Splits `host`, `host:port`, `[v6]`, `[v6]:port` and a bare v6 address.
pub(super) fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = rest.strip_prefix(':').map(port);
        return match (port, rest) {
            (None, "") => Some((host, None)),
            (Some(Some(port)), _) => Some((host, Some(port))),
            _ => None,
        };
    }
    match text.split_once(':') {
        Some((host, number)) if !number.contains(':') => Some((host, Some(port(number)?))),
        _ => Some((text, None)),
    }
}

/// Returns whether ssh takes the text for a host name. A name may hold nothing that the shell of a
/// ProxyCommand would act on.
pub(super) fn is_host(text: &str) -> bool {
    let bad =
        |c: char| c.is_control() || c.is_whitespace() || "'`\"$\\;&<>|(){}[],@/?#*!".contains(c);
    !text.is_empty() && !text.starts_with('-') && !text.contains(bad)
}

fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Returns whether the text is `SHA256:` and 43 digits of base64, as `ssh-keygen -l` prints it.
pub(super) fn is_fingerprint(text: &str) -> bool {
    let digit = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    text.strip_prefix("SHA256:").is_some_and(|hash| hash.len() == 43 && hash.chars().all(digit))
}

/// Returns whether the text is a command that a shell can run.
pub(super) fn is_command(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains('\0')
}

/// The parts of an HTTP address.
pub(super) struct Url {
    /// Whether it is HTTPS.
    pub(super) tls: bool,
    /// A name or an address, without brackets.
    pub(super) host: String,
    /// 0: that of the slot.
    pub(super) port: u16,
    pub(super) path: String,
}

/// Returns the parts of an HTTP address.
pub(super) fn http(text: &str) -> Option<Url> {
    let (tls, rest) = match text.split_once("://")? {
        ("http", rest) => (false, rest),
        ("https", rest) => (true, rest),
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = host_and_slot_port(authority)?;
    let visible = |c: char| c.is_ascii_graphic() && c != '#';
    let slash = if path.starts_with('/') { "" } else { "/" };
    (is_host(host) && path.chars().all(visible)).then(|| Url {
        tls,
        host: host.to_owned(),
        port: port.unwrap_or(if tls { 443 } else { 80 }),
        path: format!("{slash}{path}"),
    })
}

/// Returns host and port of `host:port`.
pub(super) fn tcp(text: &str) -> Option<(String, u16)> {
    let (host, port) = host_and_slot_port(text)?;
    is_host(host).then_some((host.to_owned(), port?))
}

/// Returns what [`host_and_port`] does, where the port may be that of a slot: 0.
fn host_and_slot_port(text: &str) -> Option<(&str, Option<u16>)> {
    match text.strip_suffix(":{port}") {
        Some(host) => {
            host_and_port(host).filter(|(_, port)| port.is_none()).map(|(host, _)| (host, Some(0)))
        }
        None => host_and_port(text),
    }
}

/// Returns whether a certificate can be for this name or address.
pub(super) fn is_server_name(text: &str) -> bool {
    rustls::pki_types::ServerName::try_from(text).is_ok()
}

/// Returns whether the text names a header that a user may set.
pub(super) fn is_header(text: &str) -> bool {
    const OURS: [&str; 4] = ["host", "connection", "content-length", "transfer-encoding"];
    let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(fits) && !OURS.contains(&text.to_lowercase().as_str())
}

/// Returns whether the text is a public key of minisign.
pub(super) fn is_minisign_key(text: &str) -> bool {
    let bytes = data_encoding::BASE64.decode(text.as_bytes()).unwrap_or_default();
    bytes.len() == 42 && bytes.starts_with(b"Ed")
}

/// Returns whether `ssh-keygen` takes the text for the name of a signer or of a namespace.
pub(super) fn is_signer(text: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "*?!,\"".contains(c);
    !text.is_empty() && !text.starts_with('-') && !text.contains(bad)
}

/// Returns whether the text is `s3://`, a bucket and a key.
pub(super) fn is_s3(text: &str) -> bool {
    let place = text.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-{}".contains(c);
    place.is_some_and(|(bucket, key)| {
        !bucket.is_empty() && bucket.chars().all(fits) && !key.is_empty() && !key.ends_with('/')
    })
}

/// Returns whether the text is an address without a path, perhaps with `{bucket}` in its name.
pub(super) fn is_endpoint(text: &str) -> bool {
    let whole = text.strip_suffix('/').unwrap_or(text).replace("{bucket}.", "bucket.");
    http(&whole).is_some_and(|url| url.path == "/" && url.port != 0 && !whole.contains('@'))
}

/// Bytes a second: `20 MiB/s`, `500 kB/s`, `1.5 MB/s`.
pub(super) fn rate(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.')?);
    let factor = match unit.trim() {
        "B/s" => 1.0,
        "kB/s" | "KB/s" => 1e3,
        "MB/s" => 1e6,
        "GB/s" => 1e9,
        "KiB/s" => 1024.0,
        "MiB/s" => 1024.0 * 1024.0,
        "GiB/s" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and a terabyte"
    )]
    (1.0..=1e12).contains(&bytes).then_some(bytes as u64)
}
