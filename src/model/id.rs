//! Release ids: UTC `YYYYMMDDHHMMSS`, as in Capistrano. Deployer's releases have numbers instead;
//! we make none of these.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, NaiveDateTime, TimeDelta, Timelike as _, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const FORMAT: &str = "%Y%m%d%H%M%S";
/// Later years have more digits.
const LAST_YEAR: i32 = 9999;

/// The digits of a number that is an id.
const MOST_DIGITS: usize = 9;

/// The name of one release.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseId(IdKind);

/// The kind of an id, oldest first: numbers are older than any time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum IdKind {
    /// A release of Deployer.
    Number(u32),
    /// 14 digits that are a UTC time.
    Time(NaiveDateTime),
}

impl ReleaseId {
    /// Returns the id of a release made at `now`, to the second.
    pub fn at(now: DateTime<Utc>) -> Self {
        let second = now.naive_utc().format(FORMAT).to_string();
        Self(IdKind::Time(NaiveDateTime::parse_from_str(&second, FORMAT).unwrap_or_default()))
    }

    /// Returns the smallest id of its kind after `self`. After the last second of the year 9999
    /// there is none: it returns itself, and a deploy then fails because that release is there.
    #[must_use]
    pub fn next(self) -> Self {
        match self.0 {
            IdKind::Number(number) => Self(IdKind::Number(number.saturating_add(1))),
            IdKind::Time(time) => {
                let next = time + TimeDelta::seconds(1);
                if next.year() > LAST_YEAR { self } else { Self(IdKind::Time(next)) }
            }
        }
    }

    /// Returns the id of a release made at `now`, later than `newest`: ids only grow, whatever the
    /// clocks do.
    #[must_use]
    pub fn after(newest: Option<Self>, now: DateTime<Utc>) -> Self {
        match newest {
            Some(newest) if newest >= Self::at(now) => newest.next(),
            _ => Self::at(now),
        }
    }

    /// Returns the time that the id stands for; a number stands for none, and is older than all.
    pub fn time(self) -> DateTime<Utc> {
        match self.0 {
            IdKind::Number(_) => DateTime::UNIX_EPOCH,
            IdKind::Time(time) => time.and_utc(),
        }
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IdKind::Number(number) => write!(f, "{number}"),
            IdKind::Time(time) => write!(f, "{}", time.format(FORMAT)),
        }
    }
}

impl fmt::Debug for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is not a release id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a release id is 14 digits, a UTC time such as 20260821090311")]
pub struct NotAnId;

impl FromStr for ReleaseId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotAnId);
        }
        if text.len() <= MOST_DIGITS && !text.starts_with('0') {
            return text.parse().map(|number| Self(IdKind::Number(number))).map_err(|_| NotAnId);
        }
        if text.len() != 14 {
            return Err(NotAnId);
        }
        let time = NaiveDateTime::parse_from_str(text, FORMAT).map_err(|_| NotAnId)?;
        // chrono has no whole leap second (`…60`), and clocks of hosts have none either.
        if time.nanosecond() == 0 { Ok(Self(IdKind::Time(time))) } else { Err(NotAnId) }
    }
}

impl Serialize for ReleaseId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReleaseId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
