//! The protocol allocates nothing: a whole session with a hundred recipients and 10 MB of message, on a counting allocator.
//! The fixed sizes of a session are printed, and held to their budget.

use facteur::smtp::client::Client;
use facteur::smtp::data::LineEnds;
use facteur::smtp::server::{Server, Settings, Step, Verdict};
use facteur::smtp::stuffing::Stuffer;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came; counting in a thread-local cell of a plain number neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SETTINGS: Settings<'static> = Settings {
    hostname: "mx.example",
    message_size: 20 << 20,
    starttls: true,
    require_tls: false,
    line_ends: LineEnds::Mended,
};

/// Feeds the machine all of the input, accepting whatever it asks; how many octets of message came out.
fn feed(server: &mut Server<&str, ()>, input: &[u8], out: &mut heapless::Vec<u8, 4096>) -> usize {
    let (mut at, mut kept) = (0, 0);
    loop {
        let (used, step) = server.handle_input(&SETTINGS, &input[at..], out);
        at += used;
        match step {
            Step::Input | Step::Close(_) => return kept,
            Step::Body(text) => kept += text.len(),
            Step::EndOfData(_) => server.accepted("Q1", out),
            Step::Mail { .. } | Step::Rcpt { .. } | Step::Data => {
                server.verdict(&SETTINGS, Verdict::Accept, out);
            }
            _ => {}
        }
        out.clear();
    }
}

#[test]
fn a_whole_session_allocates_nothing() {
    let recipients: Vec<String> = (0..100)
        .map(|n| format!("RCPT TO:<bob{n}@local.example>\r\n"))
        .collect();
    let text = format!("{}\r\n..dots\r\nand a bare\nline\r\n", "x".repeat(70)).repeat(100);
    let rounds = (10 << 20) / text.len();
    let mut server: Server<&str, ()> = Server::new();
    let mut out = heapless::Vec::new();

    let before = ALLOCATIONS.get();
    feed(
        &mut server,
        b"EHLO client.example\r\nMAIL FROM:<ann@client.example> BODY=8BITMIME\r\n",
        &mut out,
    );
    for recipient in &recipients {
        feed(&mut server, recipient.as_bytes(), &mut out);
    }
    feed(&mut server, b"DATA\r\n", &mut out);
    let mut kept = 0;
    let mut stuffer = Stuffer::new();
    for _ in 0..rounds {
        kept += feed(&mut server, text.as_bytes(), &mut out);
        black_box(stuffer.stuff(text.as_bytes()).count());
    }
    feed(&mut server, b".\r\nQUIT\r\n", &mut out);
    let allocated = ALLOCATIONS.get() - before;

    assert!(kept > 9 << 20, "the message came through: {kept}");
    assert_eq!(allocated, 0);
}

#[test]
fn the_counting_allocator_counts() {
    let before = ALLOCATIONS.get();
    black_box(Box::new(1));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

#[test]
fn a_session_s_fixed_sizes_are_within_their_budget() {
    let server = size_of::<Server<facteur::spool::Durable, facteur::tls::Established>>();
    let client = size_of::<Client>();
    println!("octets: server machine {server}, client machine {client}");
    assert!(server <= 512, "{server}");
    assert!(client <= 1024, "{client}");
}
