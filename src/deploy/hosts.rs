//! All hosts of one run.

use super::context::RunContext;
use super::host::HostRun;
use super::pool::for_hosts;

/// The run ends early. The hosts' results say why.
pub(super) struct Aborted;

/// All hosts of one run, in the order of the config.
pub(super) struct Hosts<'a> {
    pub(super) cx: RunContext<'a>,
    pub(super) all: Vec<HostRun<'a>>,
    /// Whether some hosts committed a release that others, which were to commit it too, do not run.
    pub(super) diverged: bool,
}

impl<'a> Hosts<'a> {
    /// Returns the hosts of the config; nobody has connected to them yet.
    pub(super) fn new(cx: RunContext<'a>) -> Self {
        let all = cx.config.hosts.iter().map(|host| HostRun::new(cx, host)).collect();
        Self { cx, all, diverged: false }
    }

    /// Does `part` on all hosts. Returns the results in their order.
    pub(super) async fn each<T>(&mut self, part: impl AsyncFn(&mut HostRun<'a>) -> T) -> Vec<T> {
        let all = self.each_that(|_| true, part).await;
        all.into_iter().map(|(_, result)| result).collect()
    }

    /// Does `part` on the hosts that are `wanted`. Returns each result with the place of its host.
    pub(super) async fn each_that<T>(
        &mut self,
        wanted: impl Fn(&HostRun<'a>) -> bool,
        part: impl AsyncFn(&mut HostRun<'a>) -> T,
    ) -> Vec<(usize, T)> {
        self.each_at(|_, host| wanted(host), part).await
    }

    /// Does the same on the hosts that are `wanted` by their places too.
    pub(super) async fn each_at<T>(
        &mut self,
        wanted: impl Fn(usize, &HostRun<'a>) -> bool,
        part: impl AsyncFn(&mut HostRun<'a>) -> T,
    ) -> Vec<(usize, T)> {
        let hosts = self.all.iter_mut().enumerate();
        let hosts = hosts.filter(|(place, host)| wanted(*place, host));
        let part = &part;
        let parts = hosts.map(|(place, host)| async move { (place, part(host).await) });
        for_hosts(self.cx.config.parallel, parts).await
    }

    /// Releases the locks and ends all conversations.
    pub(super) async fn close(&mut self) {
        self.each(async |host| host.talk.close().await).await;
    }

    /// Fails if the user asked to stop.
    pub(super) fn stop_if_asked(&self) -> Result<(), Aborted> {
        if self.cx.cancel.asked() { Err(Aborted) } else { Ok(()) }
    }
}
