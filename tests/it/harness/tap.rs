//! A TCP forwarder that keeps what went through it, for tests of what must never be said.
//!
//! Servers could note their own requests, but then what they note would have to be trusted.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Between clients of plain HTTP and a server.
pub struct Tap {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<u8>>>,
    answered: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    pub fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let tap = Self { address, asked: Arc::default(), answered: Arc::default() };
        let (asked, answered) = (Arc::clone(&tap.asked), Arc::clone(&tap.answered));
        // Ends with the process: a listener cannot be woken portably.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(upstream) else { continue };
                if let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) {
                    forward(client, server, Arc::clone(&asked));
                    forward(server_too, client_too, Arc::clone(&answered));
                }
            }
        });
        tap
    }

    /// Everything that clients sent; what several of them sent at once is mixed.
    pub fn asked(&self) -> String {
        text(&self.asked)
    }

    pub fn answered(&self) -> String {
        text(&self.answered)
    }

    /// The targets of all requests.
    pub fn urls(&self) -> Vec<String> {
        let asked = self.asked();
        let before_version = asked.split(" HTTP/1.1\r\n").filter_map(|part| part.rsplit_once(' '));
        before_version.filter(|(_, target)| target.starts_with('/')).map(|(_, target)| target.to_owned()).collect()
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, kept: Arc<Mutex<Vec<u8>>>) {
    thread::spawn(move || {
        let mut buffer = [0; 8_192];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let bytes = buffer.get(..count).unwrap_or_default();
            kept.lock().expect("no holder panics").extend_from_slice(bytes);
            if to.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

fn text(kept: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&kept.lock().expect("no holder panics")).into_owned()
}
