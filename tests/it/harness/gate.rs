//! A TCP forwarder that can be shut: an outage of any server, without stopping it.
//!
//! Stopping and starting the real one would be simpler to explain, but a registry in memory would come back empty,
//! and a fresh port cannot be had twice with certainty.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// Listens on a port of its own and forwards to `upstream` while open. While shut it accepts nobody for longer than
/// it takes to hang up.
pub struct Gate {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    upstream: SocketAddr,
    open: bool,
    /// Both ends of every forwarded connection.
    connections: Vec<TcpStream>,
    /// Connections asked for while shut.
    refused: usize,
}

impl Gate {
    pub fn open_to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Mutex::new(State { upstream, open: true, connections: Vec::new(), refused: 0 }));
        let shared = Arc::clone(&state);
        // Ends with the process: a listener cannot be woken portably.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                lock(&shared).admit(client);
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection and refuses new ones.
    pub fn shut(&self) {
        let mut state = lock(&self.state);
        state.open = false;
        for connection in state.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// From now on connections lead elsewhere; those that there are break.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.shut();
        lock(&self.state).upstream = upstream;
        self.open();
    }

    pub fn open(&self) {
        lock(&self.state).open = true;
    }

    /// How many connections were asked for while shut: proof that somebody met the outage.
    pub fn refused(&self) -> usize {
        lock(&self.state).refused
    }
}

impl State {
    fn admit(&mut self, client: TcpStream) {
        if !self.open {
            self.refused += 1;
            return;
        }
        // An upstream that is down is an outage too: the client sees its connection end.
        let Ok(server) = TcpStream::connect(self.upstream) else { return };
        if let (Ok(client_reader), Ok(server_reader)) = (client.try_clone(), server.try_clone()) {
            forward(client_reader, server.try_clone());
            forward(server_reader, client.try_clone());
            self.connections.extend([client, server]);
        }
    }
}

fn forward(mut from: TcpStream, to: io::Result<TcpStream>) {
    let Ok(mut to) = to else { return };
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no holder panics")
}
