//! Rules that must hold of the source itself.
