//! Two TUN devices joined by a link with a delay and, if asked for, a rate: the kernel's own TCP
//! runs over it end to end and sees handshakes, slow start and delayed acknowledgements as they
//! are.
//!
//! Without a rate, packets that the kernel has not yet cut up are handed on whole, header and all;
//! TCP at either end still counts segments of 1,500 bytes. With a rate, segments travel one by one,
//! up to 100 ms of them wait, and the rest is dropped.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tun_rs::{DeviceBuilder, SyncDevice};

/// The most that may wait before a rate.
const QUEUE: Duration = Duration::from_millis(100);

/// The treatment of packets in one direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// From one end to the other.
    pub(crate) delay: Duration,
    /// In bytes a second.
    pub(crate) rate: Option<f64>,
}

/// Makes two devices in this network namespace and joins them for as long as the program lives.
pub(crate) fn join(names: [&str; 2], shape: Shape) -> Result<()> {
    let open = |name: &str| -> Result<Arc<SyncDevice>> {
        let builder = DeviceBuilder::new().name(name).enable(false).offload(shape.rate.is_none());
        let device = builder.tx_queue_len(10_000).build_sync();
        Ok(Arc::new(device.with_context(|| format!("could not make the TUN device {name}"))?))
    };
    let (here, there) = (open(names[0])?, open(names[1])?);
    direction(&here, &there, shape);
    direction(&there, &here, shape);
    Ok(())
}

fn direction(from: &Arc<SyncDevice>, to: &Arc<SyncDevice>, shape: Shape) {
    let (from, to) = (Arc::clone(from), Arc::clone(to));
    let (sender, receiver) = channel();
    thread::spawn(move || take(&from, shape, &sender));
    thread::spawn(move || give(&to, &receiver));
}

/// A packet and when it arrives.
type Flying = (Instant, Vec<u8>);

fn take(from: &SyncDevice, shape: Shape, flying: &Sender<Flying>) {
    let mut buffer = vec![0; 1 << 17];
    let mut free = Instant::now();
    loop {
        let Ok(length) = from.recv(&mut buffer) else {
            // The device is not up yet.
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let Some(sent) = pass(length, shape.rate, &mut free) else { continue };
        if flying.send((sent + shape.delay, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

/// Returns when a packet of this size has left, unless it is dropped; the last one left at `free`.
fn pass(length: usize, rate: Option<f64>, free: &mut Instant) -> Option<Instant> {
    let now = Instant::now();
    let Some(rate) = rate else { return Some(now) };
    let start = now.max(*free);
    if start - now > QUEUE {
        return None;
    }
    *free = start + Duration::from_secs_f64(f64::from(u32::try_from(length).ok()?) / rate);
    Some(*free)
}

fn give(to: &SyncDevice, flying: &Receiver<Flying>) {
    for (due, packet) in flying {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // As on a wire: what cannot be taken is gone, and TCP sends it again.
        let _ = to.send(&packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_spaces_packets_and_drops_what_waits_too_long() {
        let mut free = Instant::now();
        let start = free;
        let sent: Vec<_> = (0..200).map(|_| pass(1_000, Some(1e6), &mut free)).collect();
        assert!(sent.iter().take(100).all(Option::is_some));
        assert!(sent.iter().skip(150).any(Option::is_none));
        assert!(free - start < Duration::from_millis(200));
    }
}
