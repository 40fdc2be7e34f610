//! `[health]` as it is written.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Unexpected, Visitor};
use toml::Spanned;

use super::{Length, SourceTable, TextOr};

/// `[health]`. Each of the first three keys is the short form of a check.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Health {
    pub(in crate::config) http: Option<Spanned<String>>,
    pub(in crate::config) tcp: Option<Spanned<String>>,
    pub(in crate::config) command: Option<Spanned<String>>,
    pub(in crate::config) checks: Vec<Spanned<Check>>,
    pub(in crate::config) soak: Option<Spanned<Length>>,
    pub(in crate::config) interval: Option<Spanned<Length>>,
    pub(in crate::config) timeout: Option<Spanned<Length>>,
    pub(in crate::config) total: Option<Spanned<Length>>,
    pub(in crate::config) successes: Option<Spanned<i64>>,
}

/// One check in full.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Check {
    pub(in crate::config) http: Option<Spanned<String>>,
    pub(in crate::config) tcp: Option<Spanned<String>>,
    pub(in crate::config) command: Option<Spanned<String>>,
    pub(in crate::config) status: Option<Spanned<Statuses>>,
    pub(in crate::config) body: Option<Spanned<String>>,
    pub(in crate::config) headers: BTreeMap<Spanned<String>, Spanned<TextOr<SourceTable>>>,
    pub(in crate::config) host: Option<Spanned<String>>,
    pub(in crate::config) ca: Option<Spanned<String>>,
    pub(in crate::config) insecure: Option<Spanned<bool>>,
    pub(in crate::config) roles: Vec<Spanned<String>>,
    pub(in crate::config) interval: Option<Spanned<Length>>,
    pub(in crate::config) timeout: Option<Spanned<Length>>,
    pub(in crate::config) total: Option<Spanned<Length>>,
    pub(in crate::config) successes: Option<Spanned<i64>>,
}

/// Statuses: a number, `"2xx"`, `"200-204"`, or a list of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Statuses(pub(in crate::config) Vec<RangeInclusive<u16>>);

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(StatusesVisitor)
    }
}

struct StatusesVisitor;

impl<'de> Visitor<'de> for StatusesVisitor {
    type Value = Statuses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status such as 200, \"2xx\" or \"200-204\", or a list of them")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Statuses, E> {
        let status = u16::try_from(number).ok().filter(|status| is_status(*status));
        let wrong = || E::invalid_value(Unexpected::Signed(number), &self);
        status.map(|status| Statuses(vec![status..=status])).ok_or_else(wrong)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Statuses, E> {
        let wrong = || E::invalid_value(Unexpected::Str(text), &self);
        statuses(text).map(|range| Statuses(vec![range])).ok_or_else(wrong)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Statuses, A::Error> {
        let mut all = Vec::new();
        while let Some(Statuses(some)) = list.next_element()? {
            all.extend(some);
        }
        if all.is_empty() {
            Err(de::Error::invalid_value(Unexpected::Other("an empty list"), &self))
        } else {
            Ok(Statuses(all))
        }
    }
}

fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str| text.parse().ok().filter(|status| is_status(*status));
    if let Some(class) = text.strip_suffix("xx") {
        let first: u16 = number(&format!("{class}00"))?;
        return Some(first..=first + 99);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = number(first)?..=number(last)?;
    (!range.is_empty()).then_some(range)
}

const fn is_status(number: u16) -> bool {
    matches!(number, 100..=599)
}
