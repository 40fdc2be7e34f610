//! `[[notices]]`: where messages go.

use toml::Spanned;

use super::Resolver;
use crate::config::error::ConfigError;
use crate::config::tables::{Moment, NoticeTable, TextOr};
use crate::config::{EnvSource, NoticeTarget, rules};

/// The rule for an address.
const ADDRESS: &str = "an `https://` or `http://` address";

impl Resolver<'_> {
    pub(super) fn notices(&self) -> Result<Vec<NoticeTarget>, ConfigError> {
        self.layer.notices.iter().map(|notice| self.notice(notice.get_ref())).collect()
    }

    fn notice(&self, notice: &NoticeTable) -> Result<NoticeTarget, ConfigError> {
        let url = match notice.url.get_ref() {
            TextOr::Text(text) => {
                // The rest after the host is often a secret.
                let shown = text.split_once("://").map_or(text.as_str(), |(scheme, _)| scheme);
                let shown = Spanned::new(notice.url.span(), shown);
                self.rule(&shown, "url", ADDRESS, rules::is_address(text))?;
                EnvSource::Text(text.clone())
            }
            TextOr::Table(table) => self.source(&notice.url, table.keys())?,
        };
        let on = match &notice.on {
            None => vec![Moment::Done, Moment::Failed, Moment::Reverted],
            Some(on) => {
                let shown = Spanned::new(on.span(), "[]");
                let must = "one or more of `started`, `done`, `failed` and `reverted`";
                self.rule(&shown, "on", must, !on.get_ref().is_empty())?;
                on.get_ref().clone()
            }
        };
        Ok(NoticeTarget { url, format: notice.format, on })
    }
}
