//! SMTP smuggling through the relay (CVE-2023-51764 and its kin): a message with a false ending and commands behind it,
//! sent on to a next hop that would believe in it. `tests/end_of_data.rs` has the machine by itself, at every split.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use support::endings::{FALSE_ENDINGS, bare, smuggled};
use support::facteur::Facteur;
use support::postfix::Postfix;
use support::smtp::Client;
use support::{Folder, PATIENCE, maildir_messages, until};

const TRUE_END: &str = "\r\n.\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Data,
    Chunks,
}

/// One message that carries a second one, and how it is sent.
struct Case {
    number: usize,
    ending: &'static str,
    /// Without the true end.
    text: String,
    by: By,
}

/// Every ending, with commands in CR LF and in bare LF behind it, by DATA and by BDAT, where even the true end is none.
fn corpus() -> Vec<Case> {
    let mut cases = Vec::new();
    for by in [By::Data, By::Chunks] {
        let more = (by == By::Chunks).then_some(TRUE_END);
        for ending in FALSE_ENDINGS.into_iter().chain(more) {
            for line_end in ["\r\n", "\n"] {
                let number = cases.len();
                // Where lines end in CR LF, the smuggled message's end is the true one.
                let end = match (by, line_end) {
                    (By::Data, "\r\n") => "",
                    _ => &format!(".{line_end}QUIT{line_end}"),
                };
                let smuggled = smuggled(line_end);
                let text = format!("Subject: case {number}\r\n\r\nbefore{ending}{smuggled}{end}");
                let text = text.strip_suffix("\r\n").unwrap_or(&text).to_owned();
                cases.push(Case {
                    number,
                    ending,
                    text,
                    by,
                });
            }
        }
    }
    cases
}

impl Case {
    /// Sends it in a session that goes on, and gives the one reply to the whole.
    fn send(&self, client: &mut Client) -> String {
        self.try_to_send(client)
            .unwrap_or_else(|problem| panic!("{problem}: {:?} by {:?}", self.ending, self.by))
    }

    fn try_to_send(&self, client: &mut Client) -> io::Result<String> {
        self.begin(client)?;
        client.send(&self.data())?;
        Self::end(client)
    }

    /// All in front of the data.
    fn begin(&self, client: &mut Client) -> io::Result<()> {
        let to = format!("RCPT TO:<case-{}@victim.test>", self.number);
        client.say("MAIL FROM:<printer@client.test>", "250")?;
        client.say(&to, "250")?;
        match self.by {
            By::Data => client.say("DATA", "354").map(|_| ()),
            By::Chunks => client.send(format!("BDAT {} LAST\r\n", self.text.len()).as_bytes()),
        }
    }

    fn data(&self) -> Vec<u8> {
        let end = match self.by {
            By::Data => TRUE_END,
            By::Chunks => "",
        };
        [&self.text, end].concat().into_bytes()
    }

    /// The reply. Nothing else is answered, and the session is in step.
    fn end(client: &mut Client) -> io::Result<String> {
        let reply = client.reply()?;
        client.say("VRFY bob", "252")?;
        Ok(reply)
    }
}

fn greeted(port: u16) -> Client {
    let mut client = Client::connect(port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client
}

/// Debian 12's Postfix as it is by default: LF ends a line as well. Later ones are told to be as it was.
fn victim(by: By) -> Postfix {
    let discards = match by {
        By::Data => "smtpd_discard_ehlo_keywords=chunking",
        By::Chunks => "smtpd_discard_ehlo_keywords=",
    };
    Postfix::next_hop(&[
        discards,
        "smtpd_forbid_bare_newline=no",
        "smtpd_forbid_unauth_pipelining=no",
        "smtpd_reject_unlisted_recipient=no",
    ])
}

/// How many messages of one recipient stand in a Postfix's Maildir.
fn delivered(postfix: &Postfix) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for path in maildir_messages(&postfix.delivered()) {
        let message = String::from_utf8_lossy(&fs::read(path).expect("readable")).into_owned();
        let to = message
            .lines()
            .find_map(|line| line.strip_prefix("Delivered-To: "));
        let to = to.expect("virtual(8) writes it").to_owned();
        all.entry(to).or_default().push(message);
    }
    all
}

/// The control, without which the test below shows nothing: sent straight to the next hop, a false ending does smuggle.
#[test]
fn the_next_hop_is_a_victim() {
    let postfix = victim(By::Data);
    let (mut believed, mut messages) = (Vec::new(), 0);
    let cases = corpus();
    for case in cases.iter().filter(|case| case.by == By::Data) {
        let mut client = greeted(postfix.port);
        let talk = [
            "MAIL FROM:<printer@client.test>\r\nRCPT TO:<someone@victim.test>\r\nDATA\r\n",
            &case.text,
            TRUE_END,
            "QUIT\r\n",
        ];
        client.send(talk.concat().as_bytes()).expect("sent");
        let queued = client.rest().expect("heard").matches("queued as").count();
        messages += queued;
        if queued > 1 && !believed.contains(&case.ending) {
            believed.push(case.ending);
        }
    }
    println!("Postfix takes these for an end: {believed:?}");
    assert!(
        believed.contains(&"\n.\n"),
        "this Postfix cannot be smuggled through: install one that takes {:?} for an end, as Debian 12's does",
        "\n.\n"
    );
    until("the smuggled messages", || {
        let all = delivered(&postfix);
        (all.values().flatten().count() == messages).then_some(())
    });
    assert!(delivered(&postfix).contains_key("smuggled@victim.test"));
}

/// The numbers that Postfix gives of a command when a client is gone (`mail=7`), over all clients; with those refused it
/// would be `mail=7/9`. None while a client is there.
fn commands(log: &str, name: &str) -> Option<usize> {
    let ends: Vec<_> = log
        .lines()
        .filter(|line| line.contains("]: disconnect from"))
        .collect();
    let begins = log.matches("]: connect from").count();
    let counts = ends.iter().flat_map(|line| line.split_whitespace());
    let counts = counts.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let all = counts.map(|count| count.parse::<usize>().expect("all were obeyed"));
    (ends.len() == begins).then(|| all.sum())
}

#[test]
fn nothing_is_smuggled_through_us_from_a_trusted_client_to_a_next_hop_that_would_take_it() {
    nothing_is_smuggled_to(&victim(By::Data), "data");
}

#[test]
fn nothing_is_smuggled_through_us_in_chunks_either() {
    nothing_is_smuggled_to(&victim(By::Chunks), "bdat");
}

/// `verb`: with which messages come.
fn nothing_is_smuggled_to(postfix: &Postfix, verb: &str) {
    let (folder, cases) = (Folder::new(), corpus());
    let relay = format!("[127.0.0.1]:{}", postfix.port);
    let mut facteur = Facteur::start(folder.as_ref(), &["--relay", &relay]);
    let mut client = greeted(facteur.port);
    for case in &cases {
        let reply = case.send(&mut client);
        assert!(reply.starts_with("250 2.0.0"), "{reply}: {:?}", case.ending);
    }
    drop(client);
    until("all that was sent", || {
        (maildir_messages(&postfix.delivered()).len() >= cases.len()).then_some(())
    });
    facteur.terminate();
    facteur.wait_exit();
    assert!(facteur.log().contains("stopped queued=0"));
    for name in ["mail", "rcpt", verb] {
        let count = until("Postfix's farewells", || commands(&postfix.log(), name));
        assert_eq!(count, cases.len(), "{name}");
    }
    assert!(!postfix.log().contains("smuggled@"), "{}", postfix.log());

    let all = delivered(postfix);
    assert_eq!(all.len(), cases.len());
    for case in cases {
        let [message] = &all[&format!("case-{}@victim.test", case.number)][..] else {
            panic!("{:?} came more than once", case.ending);
        };
        let (head, body) = message.split_once("\n\n").expect("a header and a body");
        let subject = format!("\nSubject: case {}", case.number);
        assert!(head.contains(&subject), "{:?}: {message}", case.ending);
        for inside in ["before", "MAIL FROM:<smuggled@evil.test>", "SMUGGLED"] {
            assert!(body.contains(inside), "{:?}: {message}", case.ending);
        }
    }
}

/// A next hop that keeps every octet. It believes in the true end only, but judging is left to the test.
struct Recorder {
    port: u16,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    /// All octets of each connection.
    connections: Vec<Vec<u8>>,
    /// Each message as it came, dots and all.
    messages: Vec<Vec<u8>>,
}

impl Recorder {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let heard = Arc::new(Mutex::new(Heard::default()));
        std::thread::spawn({
            let heard = Arc::clone(&heard);
            // Ends with the test's process.
            move || {
                for socket in listener.incoming().flatten() {
                    let heard = Arc::clone(&heard);
                    std::thread::spawn(move || {
                        let mut octets = Vec::new();
                        // A client that has said QUIT may be gone before the answer.
                        let _ = Self::session(socket, &heard, &mut octets);
                        heard.lock().expect("whole").connections.push(octets);
                    });
                }
            }
        });
        Self { port, heard }
    }

    /// Answers every line, and keeps all octets.
    fn session(socket: TcpStream, heard: &Mutex<Heard>, all: &mut Vec<u8>) -> io::Result<()> {
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut answer = socket.try_clone()?;
        let mut octets = BufReader::new(socket);
        answer.write_all(b"220 recorder ESMTP\r\n")?;
        loop {
            let line = through(&mut octets, b"\r\n", b"", all)?;
            let reply: &[u8] = match line.get(..4).unwrap_or_default() {
                b"" => return Ok(()),
                b"EHLO" => b"250-recorder\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
                b"DATA" => {
                    answer.write_all(b"354 go on\r\n")?;
                    let message = through(&mut octets, TRUE_END.as_bytes(), b"\r\n", all)?;
                    heard.lock().expect("whole").messages.push(message);
                    b"250 2.0.0 taken\r\n"
                }
                _ => b"250 2.0.0 ok\r\n",
            };
            answer.write_all(reply)?;
        }
    }

    /// Stops the sender when this many messages have come, and gives them. Nothing in all that was heard stood alone, or
    /// ended anything but them.
    #[track_caller]
    fn judge(self, facteur: Facteur, count: usize) -> Vec<Vec<u8>> {
        until("the messages", || {
            (self.heard.lock().expect("whole").messages.len() >= count).then_some(())
        });
        facteur.stop();
        // One is ours, one the listener's.
        until("the connections' ends", || {
            (Arc::strong_count(&self.heard) == 2).then_some(())
        });
        let heard = self.heard.lock().expect("whole");
        let all = heard.connections.concat();
        assert_eq!(bare(&all), None);
        let ends = all
            .windows(TRUE_END.len())
            .filter(|&at| at == TRUE_END.as_bytes());
        assert_eq!((ends.count(), heard.messages.len()), (count, count));
        heard.messages.clone()
    }
}

/// Reads until what was read ends in `end`, if something stood in front of it; it is added to `all`, too. Nothing at the
/// connection's end.
fn through(
    octets: &mut impl BufRead,
    end: &[u8],
    in_front: &[u8],
    all: &mut Vec<u8>,
) -> io::Result<Vec<u8>> {
    let mut read = in_front.to_vec();
    while !(read.ends_with(end) && read.len() >= end.len()) {
        let mut octet = [0];
        if octets.read(&mut octet)? == 0 {
            return Ok(Vec::new());
        }
        read.push(octet[0]);
    }
    all.extend_from_slice(&read[in_front.len()..]);
    Ok(read.split_off(in_front.len()))
}

/// The reads are certain, as the next octets go out when the last ones have been taken; two reads a message, cut at every
/// place in the false ending and around it. All cuts of all of it are `tests/end_of_data.rs`'s.
#[test]
fn what_goes_out_holds_no_bare_cr_or_lf_however_it_came_in() {
    let (recorder, folder, cases) = (Recorder::start(), Folder::new(), corpus());
    let relay = format!("127.0.0.1:{}", recorder.port);
    let facteur = Facteur::start(folder.as_ref(), &["--relay", &relay]);
    // A session for each place to cut at.
    let mut clients: Vec<_> = (0..12).map(|_| greeted(facteur.port)).collect();
    let mut sent = 0;
    for case in cases.iter().filter(|case| !case.text.contains("\nQUIT")) {
        let (data, at) = (case.data(), case.text.find("before").expect("inside") + 6);
        let cuts = at..=at + case.ending.len() + 1;
        assert!(cuts.clone().count() < clients.len());
        for (cut, client) in cuts.clone().zip(&mut clients) {
            case.begin(client).expect("a session in order");
            client.send(&data[..cut]).expect("sent");
        }
        Client::wait_read(&clients);
        for (cut, client) in cuts.zip(&mut clients) {
            client.send(&data[cut..]).expect("sent");
            let reply = Case::end(client).expect("a session in order");
            assert!(reply.starts_with("250 2.0.0"), "{reply}: {:?}", case.ending);
            sent += 1;
        }
    }
    drop(clients);
    let messages = recorder.judge(facteur, sent);
    // Wherever it was cut, the body is the same.
    let mut bodies = BTreeMap::new();
    for message in messages {
        let text = String::from_utf8_lossy(&message).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("a header and a body");
        let subject = head.lines().find(|line| line.starts_with("Subject: "));
        let subject = subject.expect("its own").to_owned();
        assert!(body.contains("SMUGGLED"), "{text}");
        let first = bodies.entry(subject).or_insert_with(|| body.to_owned());
        assert_eq!(first, body);
    }
    assert_eq!(bodies.len(), FALSE_ENDINGS.len());
}

#[test]
fn a_stranger_s_message_with_a_bare_cr_or_lf_is_refused_and_goes_nowhere() {
    let (recorder, folder, cases) = (Recorder::start(), Folder::new(), corpus());
    let domain = format!("victim.test=smtp:127.0.0.1:{}", recorder.port);
    let flags = ["--relay-from", "192.0.2.0/24", "--domain", &domain];
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = greeted(facteur.port);
    let mut legal = 0;
    for case in &cases {
        let reply = case.send(&mut client);
        // With NUL, a space or one more dot between, it is no end and no harm.
        let expected = match bare(case.text.as_bytes()) {
            Some(_) => "550 5.5.2",
            None => "250 2.0.0",
        };
        assert!(reply.starts_with(expected), "{reply}: {:?}", case.ending);
        legal += usize::from(reply.starts_with("250"));
    }
    drop(client);
    recorder.judge(facteur, legal);
    assert!(legal > 0 && legal < cases.len() / 4, "{legal}");
}
