//! Against OpenSSH.
