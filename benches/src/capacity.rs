//! The capacity of a link, measured by plain TCP, to tell the link's limit from that of a tool.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

const PORT: u16 = 5001;
const STREAMS: usize = 8;
/// Time for slow start, and then what is counted.
const LEAD: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(2);

/// Reads what arrives until the process is killed; says when it listens.
pub(crate) fn sink() -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT))?;
    println!("listening");
    for stream in listener.incoming() {
        let mut stream = stream?;
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
        });
    }
    Ok(())
}

/// Millions of bytes a second from here to an address, whose sink runs in the network namespace of
/// this process; `sent` counts the bytes that have left so far.
pub(crate) fn measure(process: &str, address: &str, sent: impl Fn() -> Result<u64>) -> Result<f64> {
    let mut sink = Command::new("nsenter")
        .args(["-t", process, "-n"])
        .arg(std::env::current_exe()?)
        .arg("sink")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut first = [0];
    sink.stdout.as_mut().context("a pipe was asked for")?.read_exact(&mut first)?;
    let end = Instant::now() + LEAD + TIME;
    let streams: Vec<_> = (0..STREAMS).map(|_| TcpStream::connect((address, PORT))).collect();
    for stream in streams {
        let mut stream = stream?;
        thread::spawn(move || {
            let buffer = vec![0; 1 << 20];
            while Instant::now() < end && stream.write_all(&buffer).is_ok() {}
        });
    }
    thread::sleep(LEAD);
    let before = sent()?;
    thread::sleep(TIME);
    let carried = crate::table::millions(sent()? - before);
    sink.kill()?;
    sink.wait()?;
    // Packets that still wait in the link must not meet the first run.
    thread::sleep(Duration::from_secs(1));
    Ok(carried / TIME.as_secs_f64())
}
