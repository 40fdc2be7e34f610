//! The SSH side against the embedded server and against OpenSSH.
