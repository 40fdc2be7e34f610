//! Servers of files: over TLS, with faults; a proxy in front of them; and a real store that speaks
//! S3.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio_rustls::rustls::{ServerConnection, StreamOwned};

use super::health::server_config;

/// The answer of a server.
#[derive(Clone, Default)]
pub(crate) struct Reply {
    /// The end of a status line; empty: `200 OK`.
    pub(crate) status: String,
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
    /// The connection is cut after this many bytes of the body.
    pub(crate) cut: Option<usize>,
}

impl Reply {
    pub(crate) fn file(body: &[u8]) -> Self {
        Self { body: body.to_owned(), ..Self::default() }
    }

    /// As a server answers that keeps to RFC 9110: whole, or from where `request` wants it.
    pub(crate) fn range(body: &[u8], tag: &str, request: &str) -> Self {
        let header = |name: &str| {
            let line = request.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::to_owned)
        };
        let etag = format!("ETag: {tag}");
        let from = header("range: bytes=").and_then(|it| it.trim_end_matches('-').parse().ok());
        match from.filter(|_| header("if-range: ").as_deref() == Some(tag)) {
            Some(from) => {
                let whole = body.len();
                let range = format!("Content-Range: bytes {from}-{}/{whole}", whole - 1);
                Self {
                    status: "206 Partial Content".to_owned(),
                    headers: vec![etag, range],
                    body: body[from..].to_owned(),
                    cut: None,
                }
            }
            None => Self { headers: vec![etag], ..Self::file(body) },
        }
    }

    fn write(&self, mut to: impl Write) -> io::Result<()> {
        let status = if self.status.is_empty() { "200 OK" } else { &self.status };
        let length = self.body.len();
        let headers =
            self.headers.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect::<String>();
        write!(
            to,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n"
        )?;
        to.write_all(&self.body[..self.cut.unwrap_or(length)])?;
        to.flush()
    }
}

/// A server with the certificate `own.pem`, which is for 127.0.0.1.
pub(crate) struct FileServer {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FileServer {
    /// `answer` gets the head of each request, names of headers in lower case.
    pub(crate) fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let (config, answer) = (Arc::new(server_config("own.pem")), Arc::new(answer));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, answer, noted) =
                    (Arc::clone(&config), Arc::clone(&answer), Arc::clone(&noted));
                thread::spawn(move || {
                    let connection = ServerConnection::new(config).unwrap();
                    let mut tls = StreamOwned::new(connection, stream.unwrap());
                    let Some(head) = head(&mut tls) else { return };
                    noted.lock().unwrap().push(head.clone());
                    let reply = answer(&head);
                    let _ = reply.write(&mut tls);
                    if reply.cut.is_none() {
                        tls.conn.send_close_notify();
                        let _ = tls.flush();
                    }
                });
            }
        });
        Self { port, asked }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// The heads of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Starts a server without TLS and returns its port.
pub(crate) fn plain(answer: impl Fn(&str) -> Reply + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if let Some(head) = head(&mut stream) {
                let _ = answer(&head).write(&mut stream);
            }
        }
    });
    port
}

fn head(from: &mut impl io::Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let text = String::from_utf8(head).unwrap();
    let mut lines = text.lines();
    let mut whole = lines.next()?.to_owned();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        whole = format!("{whole}\n{}:{value}", name.to_lowercase());
    }
    Some(whole)
}

/// Starts a proxy that tunnels, and returns its port and what it was asked for.
pub(crate) fn tunnelling_proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut near = stream.unwrap();
            let Some(head) = head(&mut near) else { continue };
            let place = head.split(' ').nth(1).unwrap().to_owned();
            noted.lock().unwrap().push(head);
            let far = TcpStream::connect(place).unwrap();
            near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            join(near, far, usize::MAX);
        }
    });
    (port, asked)
}

/// Starts a way to `port` whose first connection is cut after this many bytes of answers. Returns
/// its port.
pub(crate) fn cut_once(port: u16, after: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    let connections = AtomicUsize::new(0);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let first = connections.fetch_add(1, Ordering::Relaxed) == 0;
            join(stream.unwrap(), far, if first { after } else { usize::MAX });
        }
    });
    own
}

/// Carries bytes both ways, at most this many of answers.
fn join(near: TcpStream, far: TcpStream, most: usize) {
    let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    thread::spawn(move || io::copy(&mut near_in, &mut far_out));
    thread::spawn(move || {
        let mut near = near;
        let _ = io::copy(&mut far.take(most as u64), &mut near);
        let _ = near.shutdown(std::net::Shutdown::Both);
    });
}

/// moto's server with one bucket, one user who may read it, and one more without rights. It
/// verifies signatures.
pub(crate) struct S3Server {
    pub(crate) port: u16,
    pub(crate) id: String,
    pub(crate) secret: String,
    /// It ends with this.
    _input: ChildStdin,
    child: Child,
}

const S3_SERVER: &str = r#"
import json, os, sys
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "5"
import boto3
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
port = server.get_host_and_port()[1]
at = dict(endpoint_url=f"http://127.0.0.1:{port}", region_name="eu-central-1",
          aws_access_key_id="a", aws_secret_access_key="b")
iam, s3 = boto3.client("iam", **at), boto3.client("s3", **at)
iam.create_user(UserName="ci")
allow = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
iam.put_user_policy(UserName="ci", PolicyName="read", PolicyDocument=policy)
key = iam.create_access_key(UserName="ci")["AccessKey"]
s3.create_bucket(Bucket="builds", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
s3.put_object(Bucket="builds", Key=sys.argv[1], Body=open(sys.argv[2], "rb").read())
print(port, key["AccessKeyId"], key["SecretAccessKey"], flush=True)
sys.stdin.read()
"#;

impl S3Server {
    /// Starts one that holds `file` as `key`. None where no Python has moto; an error where
    /// `SHIPIT_TEST_S3` names one that must.
    pub(crate) fn start(key: &str, file: &[u8]) -> Option<Self> {
        let named = std::env::var_os("SHIPIT_TEST_S3");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("object");
        std::fs::write(&path, file).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut python = Command::new(named.clone().unwrap_or_else(|| "python3".into()));
        python.args(["-c", S3_SERVER, key]).arg(&path).stderr(log);
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let [port, id, secret] = &words[..] else {
            let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
            child.wait().unwrap();
            assert!(named.is_none(), "{log}");
            return None;
        };
        Some(Self {
            port: port.parse().unwrap(),
            id: id.clone(),
            secret: secret.clone(),
            _input: child.stdin.take().unwrap(),
            child,
        })
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
