//! Floor 2: the real Session.
