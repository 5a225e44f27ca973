//! HTTPS before a server that speaks plain HTTP, as a proxy stands before a registry: TLS with a certificate of our
//! own authority, and a password, which the server behind knows nothing of.
//!
//! One request a connection: forwarding bytes both ways at once would need a TLS stream that two threads share.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod, SslStream};

use super::{place, tls};

/// No head of a test's request is longer.
const HEAD_BYTES_MAX: usize = 16_384;
const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

pub struct TlsFront {
    /// Reached by this number or as `localhost`.
    pub address: SocketAddr,
    /// PEM file of the authority that signed the certificate.
    pub ca: PathBuf,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    broken_off: AtomicUsize,
    unauthorized: AtomicUsize,
}

/// What a request meets.
struct Front {
    upstream: SocketAddr,
    /// Value of the header that a request must have.
    authorization: String,
    counts: Arc<Counts>,
}

impl TlsFront {
    pub fn before(upstream: SocketAddr, authorization: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let certificates = tls::certificates(&place::run().join(format!("tls-front-{}", address.port())));
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).expect("OpenSSL has TLS");
        acceptor.set_private_key_file(&certificates.server, SslFiletype::PEM).expect("the file has a key");
        acceptor.set_certificate_chain_file(&certificates.server).expect("the file has a certificate");
        let acceptor = acceptor.build();
        let counts = Arc::new(Counts::default());
        let front = Front { upstream, authorization: authorization.to_owned(), counts: Arc::clone(&counts) };
        // Ends with the process: a listener cannot be woken portably.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // What fails between the two of them, the client sees and tells.
                let _ = front.serve(&acceptor, client);
            }
        });
        Self { address, ca: certificates.ca, counts }
    }

    /// Handshakes that the client did not end: it does not trust the certificate.
    pub fn broken_off(&self) -> usize {
        self.counts.broken_off.load(Ordering::Acquire)
    }

    /// Requests without the right password.
    pub fn unauthorized(&self) -> usize {
        self.counts.unauthorized.load(Ordering::Acquire)
    }
}

impl Front {
    fn serve(&self, acceptor: &SslAcceptor, client: TcpStream) -> io::Result<()> {
        let Ok(mut client) = acceptor.accept(client) else {
            self.counts.broken_off.fetch_add(1, Ordering::AcqRel);
            return Ok(());
        };
        let head = head(&mut client)?;
        if head.lines().any(|line| value_of(line, "authorization") == Some(&self.authorization)) {
            client.write_all(&self.forward(&head)?)?;
        } else {
            self.counts.unauthorized.fetch_add(1, Ordering::AcqRel);
            client.write_all(UNAUTHORIZED)?;
        }
        client.shutdown().map_err(io::Error::other)?;
        client.get_ref().shutdown(Shutdown::Write)
    }

    /// The whole answer to a request without a body.
    fn forward(&self, head: &str) -> io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(self.upstream)?;
        write!(server, "{}\r\nConnection: close\r\n\r\n", head.trim_end())?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

fn head(client: &mut SslStream<TcpStream>) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    String::from_utf8(head).map_err(io::Error::other)
}

fn value_of<'a>(line: &'a str, header: &str) -> Option<&'a str> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case(header).then(|| value.trim())
}
