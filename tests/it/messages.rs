//! Every error and every screen, as text.
