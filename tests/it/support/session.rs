//! Parts of sessions that tests do not care about.

/// Defines `dial` and `close` of a session as those of `self.inner`.
macro_rules! dial_and_close_of_inner {
    () => {
        fn dial<'a>(
            &'a self,
            host: &'a str,
            port: u16,
        ) -> BoxFuture<'a, Result<Box<dyn ByteStream>, SessionError>> {
            self.inner.dial(host, port)
        }

        fn close(&self) -> BoxFuture<'_, ()> {
            self.inner.close()
        }
    };
}
pub(crate) use dial_and_close_of_inner;

/// Defines `dial` of a session as on a server that forbids forwarding, and `close` as nothing.
macro_rules! no_dial {
    () => {
        fn dial<'a>(
            &'a self,
            host: &'a str,
            port: u16,
        ) -> BoxFuture<'a, Result<Box<dyn ByteStream>, SessionError>> {
            let reason = "forwarding is forbidden".to_owned();
            let address = format!("{host}:{port}");
            Box::pin(async { Err(SessionError::DialRefused { address, reason, forbidden: true }) })
        }

        fn close(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }
    };
}
pub(crate) use no_dial;
