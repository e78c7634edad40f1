//! A server that sends back what it gets.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::thread;

/// Answers every connection to a free port of `address` with what it sends, until the test ends.
pub(crate) fn echo(address: &str) -> SocketAddr {
    let listener = TcpListener::bind(address).expect("a free port");
    let bound = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut reader = stream.try_clone().expect("cloned");
                let _ = std::io::copy(&mut reader, &mut &stream);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    bound
}
