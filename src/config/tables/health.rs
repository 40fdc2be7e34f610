//! `[health]` as it is written.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::Deserializer;
use toml::Spanned;

use super::{Length, SourceTable, TextOr, ValueForms};
use crate::config::checks::Statuses;

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

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueForms {
            number: Some(|number| {
                let status = u16::try_from(number).ok().filter(|status| is_status(*status))?;
                Some(Self(vec![status..=status]))
            }),
            text: Some(|text| Some(Self(vec![statuses(text)?]))),
            list: Some(|lists: Vec<Self>| {
                let all: Vec<_> = lists.into_iter().flat_map(|list| list.0).collect();
                (!all.is_empty()).then_some(Self(all))
            }),
            ..ValueForms::<Self, Self>::of(
                "a status such as 200, \"2xx\" or \"200-204\", or a list of them",
            )
        })
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
