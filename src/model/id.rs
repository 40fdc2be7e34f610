//! Release ids: UTC `YYYYMMDDHHMMSS`, as in Capistrano, sortable as text.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, NaiveDateTime, TimeDelta, Timelike as _, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const FORMAT: &str = "%Y%m%d%H%M%S";
/// Later years have more digits.
const LAST_YEAR: i32 = 9999;

/// The name of one release: 14 digits that are a UTC time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseId(NaiveDateTime);

impl ReleaseId {
    /// Returns the id of a release made at `now`, to the second.
    pub fn at(now: DateTime<Utc>) -> Self {
        let second = now.naive_utc().format(FORMAT).to_string();
        Self(NaiveDateTime::parse_from_str(&second, FORMAT).unwrap_or_default())
    }

    /// Returns the smallest id after `self`. After the last second of the year 9999 there is none:
    /// it returns itself, and a deploy then fails because that release is there.
    #[must_use]
    pub fn next(self) -> Self {
        let next = self.0 + TimeDelta::seconds(1);
        if next.year() > LAST_YEAR { self } else { Self(next) }
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

    /// Returns the time that the id stands for.
    pub fn time(self) -> DateTime<Utc> {
        self.0.and_utc()
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format(FORMAT))
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
        if text.len() != 14 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotAnId);
        }
        let time = NaiveDateTime::parse_from_str(text, FORMAT).map_err(|_| NotAnId)?;
        // chrono has no whole leap second (`…60`), and clocks of hosts have none either.
        if time.nanosecond() == 0 { Ok(Self(time)) } else { Err(NotAnId) }
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
