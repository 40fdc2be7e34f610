//! Floor 3: events, reports and errors become text, here only.
