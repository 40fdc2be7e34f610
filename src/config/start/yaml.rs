//! Deployer's and Kamal's configs in YAML.

use saphyr::{LoadableYamlNode as _, MarkedYaml, Scalar, YamlData};

use super::peer::{PeerReader, ReadHost, Taken, known_name};
use super::php::IDLE_SETTINGS;

/// Keys of Kamal that mean nothing to shipit: it moves images by itself.
const IDLE_IN_KAMAL: [&str; 4] = ["image", "registry", "builder", "minimum_version"];

/// One entry of a mapping.
struct YamlEntry<'n> {
    key: String,
    line: usize,
    value: &'n MarkedYaml<'n>,
}

/// Reads Deployer's `deploy.yaml`.
pub(super) fn deployer(reader: &mut PeerReader, file: &str, text: &str) {
    reader.open(file, text);
    each(reader, text, |reader, entry| match entry.key.as_str() {
        "import" => {}
        "config" => entries(entry.value).iter().for_each(|entry| setting(reader, entry)),
        "hosts" => entries(entry.value).iter().for_each(|entry| deployer_host(reader, entry)),
        _ => reader.unread(entry.line),
    });
}

/// Reads Kamal's `config/deploy.yml`, or one of its destinations.
pub(super) fn kamal(reader: &mut PeerReader, taken: &mut Taken, file: &str, text: &str) {
    reader.open(file, text);
    each(reader, text, |reader, entry| match entry.key.as_str() {
        "service" | "retain_containers" => setting(reader, entry),
        "servers" => servers(reader, entry),
        "ssh" => entries(entry.value).iter().for_each(|entry| match entry.key.as_str() {
            "user" | "port" => setting(reader, entry),
            _ => reader.unread(entry.line),
        }),
        "env" => entries(entry.value).iter().for_each(|entry| variables(reader, taken, entry)),
        key if IDLE_IN_KAMAL.contains(&key) => {}
        _ => reader.unread(entry.line),
    });
}

/// Hands every entry at the top of a document to `take`.
fn each(
    reader: &mut PeerReader,
    text: &str,
    mut take: impl FnMut(&mut PeerReader, &YamlEntry<'_>),
) {
    match MarkedYaml::load_from_str(text) {
        Ok(documents) => {
            for entry in documents.iter().flat_map(entries) {
                take(reader, &entry);
            }
        }
        Err(error) => reader.unread(error.marker().line()),
    }
}

fn entries<'n>(node: &'n MarkedYaml<'n>) -> Vec<YamlEntry<'n>> {
    let YamlData::Mapping(map) = &node.data else { return Vec::new() };
    let entry = |(key, value): (&MarkedYaml<'n>, &'n MarkedYaml<'n>)| {
        Some(YamlEntry { key: text_of(key)?, line: key.span.start.line(), value })
    };
    map.iter().filter_map(entry).collect()
}

fn text_of(node: &MarkedYaml<'_>) -> Option<String> {
    match &node.data {
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::Boolean(truth)) => Some(truth.to_string()),
        YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::String(text)) | YamlData::Representation(text, ..) => {
            Some(text.to_string())
        }
        _ => None,
    }
}

/// Returns the texts of a list, if all are texts; one text alone is a list too.
fn texts(node: &MarkedYaml<'_>) -> Option<Vec<String>> {
    match &node.data {
        YamlData::Sequence(list) => list.iter().map(text_of).collect(),
        _ => text_of(node).map(|text| vec![text]),
    }
}

fn setting(reader: &mut PeerReader, entry: &YamlEntry<'_>) {
    let taken = match (known_name(&entry.key), text_of(entry.value)) {
        ("linked_dirs" | "linked_files", _) => {
            texts(entry.value).is_some_and(|paths| reader.list(&entry.key, paths, true))
        }
        (name, Some(value)) => {
            reader.set(&entry.key, &value, entry.line) || IDLE_SETTINGS.contains(&name)
        }
        _ => false,
    };
    if !taken {
        reader.unread(entry.line);
    }
}

fn deployer_host(reader: &mut PeerReader, entry: &YamlEntry<'_>) {
    let mut host = reader.host_at(&entry.key, entry.line);
    for detail in entries(entry.value) {
        let known = match (detail.key.as_str(), text_of(detail.value)) {
            ("labels", _) => entries(detail.value).iter().all(|label| {
                text_of(label.value).is_some_and(|value| host.label(&label.key, &value).is_some())
            }),
            ("roles", _) => texts(detail.value).map(|roles| host.roles.extend(roles)).is_some(),
            ("local", _) => {
                "local".clone_into(&mut host.address);
                true
            }
            (key, Some(value)) => host.detail(key, &value).is_some(),
            _ => false,
        };
        if !known {
            reader.unread(detail.line);
        }
    }
    reader.host(host);
}

/// Takes Kamal's servers: a list, or one for each role, perhaps with more keys beside `hosts`.
fn servers(reader: &mut PeerReader, entry: &YamlEntry<'_>) {
    if let Some(addresses) = texts(entry.value) {
        return hosts(reader, entry.line, addresses, "web");
    }
    for role in entries(entry.value) {
        if let Some(addresses) = texts(role.value) {
            hosts(reader, role.line, addresses, &role.key);
        }
        for part in entries(role.value) {
            match texts(part.value).filter(|_| part.key == "hosts") {
                Some(addresses) => hosts(reader, part.line, addresses, &role.key),
                None => reader.unread(part.line),
            }
        }
    }
}

fn hosts(reader: &mut PeerReader, line: usize, addresses: Vec<String>, role: &str) {
    for address in addresses {
        let roles = vec![role.to_owned()];
        reader.host(ReadHost { roles, ..reader.host_at(&address, line) });
    }
}

/// Takes Kamal's variables: `clear` with their values, `secret` by name; or all of them in one
/// list.
fn variables(reader: &mut PeerReader, taken: &mut Taken, entry: &YamlEntry<'_>) {
    match (entry.key.as_str(), texts(entry.value)) {
        ("secret", Some(names)) => taken.env.extend(names.into_iter().map(|name| (name, None))),
        ("clear", _) => {
            for one in entries(entry.value) {
                variables(reader, taken, &one);
            }
        }
        (name, Some(value)) if value.len() == 1 && !value.concat().contains("<%") => {
            taken.env.insert(name.to_owned(), Some(value.concat()));
        }
        _ => reader.unread(entry.line),
    }
}
