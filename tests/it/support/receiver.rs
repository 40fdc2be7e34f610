//! A web server that takes one request after the other and answers with the statuses it was given.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver as Queue, channel};
use std::thread;

use serde_json::Value;

/// The request of a client.
pub(crate) struct Posted {
    pub(crate) path: String,
    pub(crate) body: Value,
}

pub(crate) struct Receiver {
    pub(crate) url: String,
    pub(crate) posted: Queue<Posted>,
}

/// Starts a server. After the last of `statuses` it answers with 200.
pub(crate) fn receiver(statuses: &[u16]) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let statuses = statuses.to_vec();
    let (sender, posted) = channel();
    thread::spawn(move || {
        let mut statuses = statuses.into_iter();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                head.push(line.trim().to_owned());
            }
            let length = head.iter().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
            });
            let mut body = vec![0; length.unwrap_or(0)];
            lines.read_exact(&mut body).unwrap();
            let path = head[0].split(' ').nth(1).unwrap().to_owned();
            let status = statuses.next().unwrap_or(200);
            let answer =
                format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
            let body = serde_json::from_slice(&body).unwrap();
            if sender.send(Posted { path, body }).is_err() {
                return;
            }
        }
    });
    Receiver { url, posted }
}
