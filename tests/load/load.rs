//! The bench's load tool (`cargo run --release --example load`): what smtp-source cannot do, without a client that is
//! itself the bottleneck.
//!
//! ```text
//! load handshakes ADDR COUNT THREADS [NAMES]
//!                                      opens COUNT STARTTLS sessions, EHLO inside TLS, QUIT; prints sessions a second.
//!                                      They ask for localhost, or in turn for the first NAMES names of `load names`
//! load hold ADDR COUNT                 opens COUNT STARTTLS sessions, prints "held COUNT", keeps them to the end of its input
//! load first220 ADDR COMMAND…          starts COMMAND, prints the milliseconds to its first 220; ends it
//! load names DIR COUNT                 writes DIR/config/domains of COUNT lines, and the certificates for it
//! load bare ADDR CHAIN KEY             a bare smol + futures-rustls STARTTLS server: the reference for handshakes
//! ```
//!
//! No certificate is checked: this is a load on a server of our own.

mod bare;
mod client;
mod names;

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["handshakes", to, count, threads] => handshakes(to, count, threads, "0"),
        ["handshakes", to, count, threads, names] => handshakes(to, count, threads, names),
        ["hold", to, count] => hold(to, count),
        ["first220", to, program, ref arguments @ ..] => first220(to, program, arguments),
        ["names", dir, count] => {
            number(count).and_then(|count| names::write(Path::new(dir), count))
        }
        ["bare", at, chain, key] => bare::serve(at, chain, key),
        _ => Err(
            "handshakes, hold, first220, names or bare: see the top of tests/load/load.rs"
                .to_owned(),
        ),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("load: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn address(word: &str) -> Result<SocketAddr, String> {
    word.parse()
        .map_err(|e| format!("{word:?} is not an ADDR:PORT: {e}"))
}

fn number(word: &str) -> Result<usize, String> {
    word.parse()
        .map_err(|e| format!("{word:?} is not a count: {e}"))
}

fn handshakes(to: &str, count: &str, threads: &str, names: &str) -> Outcome {
    let (to, count, threads) = (address(to)?, number(count)?, number(threads)?);
    let names = number(names)?;
    let name = |n: usize| match names {
        0 => "localhost".to_owned(),
        names => names::name(n % names),
    };
    let config = client::config();
    let begun = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let n = begun.fetch_add(1, Ordering::Relaxed);
                        if n >= count {
                            return Ok::<(), String>(());
                        }
                        client::Session::open(to, &name(n), &config)?.quit()?;
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "a thread failed".to_owned())?)
    })?;
    println!("{:.1}", count as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

fn hold(to: &str, count: &str) -> Outcome {
    let (to, count) = (address(to)?, number(count)?);
    let config = client::config();
    let held = (0..count)
        .map(|_| client::Session::open(to, "localhost", &config))
        .collect::<Result<Vec<_>, _>>()?;
    println!("held {}", held.len());
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .map_err(|e| format!("standard input: {e}"))?;
    Ok(())
}

fn first220(to: &str, program: &str, arguments: &[&str]) -> Outcome {
    let to = address(to)?;
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|e| format!("{program}: {e}"))?;
    let greeting = greeted(to, start);
    let taken = start.elapsed();
    child
        .kill()
        .and_then(|()| child.wait())
        .map_err(|e| format!("{program}: {e}"))?;
    greeting?;
    println!("{:.2}", taken.as_secs_f64() * 1000.0);
    Ok(())
}

/// Waits until a connection to `to` is greeted with 220, for a minute at most: a large queue on a slow disk takes long.
fn greeted(to: SocketAddr, start: Instant) -> Outcome {
    while start.elapsed() < Duration::from_secs(60) {
        if let Ok(mut stream) = TcpStream::connect(to) {
            let mut first = [0; 3];
            stream
                .read_exact(&mut first)
                .map_err(|e| format!("greeting of {to}: {e}"))?;
            return match &first {
                b"220" => Ok(()),
                other => Err(format!("greeting of {to}: {:?}", other.escape_ascii())),
            };
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Err(format!("{to}: no greeting within 60 s"))
}
