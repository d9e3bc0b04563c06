//! `facteur serve`: boot in an order in which nothing on the disk changes before the ports are bound, then signals and
//! drain.

use super::ceiling::Ceiling;
use super::certificates::{Asker, Certificates, Standing, Watch};
use super::config::{Config, Port};
use super::control::{Control, Reach};
use super::directory::{self, Files};
use super::spool_key;
use super::user::User;
use crate::inbound::session::Door;
use crate::inbound::slots::Slots;
use crate::inbound::turns::Turns;
use crate::inbound::verify::{Answer, Existence, May, Verify};
use crate::inbound::{Counters, Inbound, listener};
use crate::limits;
use crate::net::deadline::within;
use crate::net::dns::Resolver;
use crate::outbound::attempt::{self, Connector};
use crate::outbound::clocks;
use crate::outbound::probe::{Prober, Verdict};
use crate::outbound::route::Router;
use crate::outbound::schedule::{self, Schedule};
use crate::policy::directory::Names;
use crate::policy::idn;
use crate::policy::routes::Routes;
use crate::policy::routes::domain;
use crate::policy::target::Target;
use crate::spool::{self, Spool};
use crate::tls;
use async_signal::{Signal, Signals};
use log::{error, info, warn};
use smol::channel::{self, Receiver, Sender};
use smol::stream::StreamExt as _;
use smol::{Async, Executor, Task};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A bound listener.
type Bound = (Async<TcpListener>, Port);

/// Runs the relay until SIGTERM or SIGINT.
///
/// # Errors
/// One line: why the relay cannot start, or what went wrong at its end.
pub fn run(config: Config) -> Result<(), String> {
    allow_descriptors(&config)?;
    let user = config.user.as_deref().map(User::named).transpose()?;
    let user = user.flatten();
    let certificates = Certificates::of(&config).map(|found| Watch::begin(found, user.as_ref()));
    let certificates = certificates.transpose()?;
    let bound = bind(&config.ports)?;
    let options = spool_options(&config, user.as_ref())?;
    if let Some(user) = &user {
        user.give_spool(&config.spool.dir)?;
        user.become_for_good()?;
        info!("user {} uid={} gid={}", user.name, user.uid, user.gid);
    }
    // From here on there may be threads.
    let signals = Signals::new([Signal::Term, Signal::Int, Signal::Hup])
        .map_err(|e| format!("signals: {e}"))?;
    let bound = listening(bound)?;
    let routes = Arc::new(config.routes.clone());
    // As the user that is to read them at SIGHUP.
    let names = names(&config, &routes)?;
    let spool = open_spool(&options, &routes)?;
    let control = control(&config);
    info!("{}", Ceiling::of(&config));
    let executor = Arc::new(Executor::new());
    let (running, stopped) = channel::bounded::<()>(1);
    for number in 1..thread::available_parallelism().map_or(1, usize::from) {
        let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
        let work = move || {
            // The channel closes when the relay has ended.
            let _ = smol::block_on(executor.run(stopped.recv()));
        };
        let started = thread::Builder::new()
            .name(format!("facteur-{number}"))
            .spawn(work);
        started.map_err(|problem| format!("thread: {problem}"))?;
    }
    let relay = Relay {
        executor: Arc::clone(&executor),
        config,
        certificates,
        names,
        spool,
        control,
        signals,
    };
    let result = smol::block_on(executor.run(relay.serve(bound)));
    drop(running);
    result
}

fn bind(ports: &[Port]) -> Result<Vec<(TcpListener, Port)>, String> {
    ports
        .iter()
        .map(|&port| Ok((listener::bind(port.flag, port.address)?, port)))
        .collect()
}

fn listening(bound: Vec<(TcpListener, Port)>) -> Result<Vec<Bound>, String> {
    let ours = |(listener, port): (TcpListener, Port)| {
        let listener = Async::new(listener);
        let listener = listener.map_err(|e| format!("{} {}: {e}", port.flag, port.address))?;
        Ok((listener, port))
    };
    bound.into_iter().map(ours).collect()
}

/// With the key, which may be root's.
fn spool_options(config: &Config, user: Option<&User>) -> Result<spool::Options, String> {
    let file = config.spool_key.as_deref();
    let key = file.map(|file| spool_key::read(file, user));
    Ok(spool::Options {
        key: key.transpose()?,
        ..config.spool.clone()
    })
}

fn open_spool(options: &spool::Options, routes: &Arc<Routes>) -> Result<Spool, String> {
    let lanes = Arc::clone(routes);
    let lane_of: spool::LaneOf = Box::new(move |address| lanes.lane(address));
    let now = unix_micros() / 1_000_000;
    Spool::open(options, spool::disk::Real, lane_of, now).map_err(|problem| problem.to_string())
}

/// Who exists, and whether that leaves Postmaster to nobody.
fn names(config: &Config, routes: &Arc<Routes>) -> Result<Arc<Names>, String> {
    let directory = Files::of(config, Arc::clone(routes)).read()?;
    directory::tell(&directory);
    let machine: Vec<&str> = config.relay.machine_names().skip(1).collect();
    info!(
        "machine hostname={} names=\"{}\"",
        config.hostname,
        machine.join(" ")
    );
    let names = Names::new(config.relay.clone(), Arc::clone(routes), directory);
    if names.postmaster().is_empty() {
        warn!("{}", directory::NO_POSTMASTER);
    }
    Ok(Arc::new(names))
}

/// Mail goes on without it.
fn control(config: &Config) -> Option<Control> {
    Control::bind(&config.spool.dir)
        .inspect_err(|why| {
            warn!("control {why}: facteur queue cannot retry or drop while this relay runs")
        })
        .ok()
}

pub(super) fn unix_micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Each session and each attempt needs a descriptor, the spool and the rest a few more.
pub(super) fn allow_descriptors(config: &Config) -> Result<(), String> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let outbound = config.outbound * limits::CONNECTS_AT_ONCE;
    let needed = (config.sessions + outbound + limits::DESCRIPTORS) as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|most| most < needed) {
        return Err(format!(
            "--sessions {} and --outbound {} need {needed} open files, and the system allows {}",
            config.sessions,
            config.outbound,
            limit.maximum.unwrap_or(0)
        ));
    }
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit).map_err(|problem| format!("open files: {problem}"))
}

/// What finds next hops; mail must not go to one of `own_addresses`.
pub(super) fn router(config: &Config, own_addresses: Vec<SocketAddr>) -> Router {
    let resolver = match config.resolvers.is_empty() {
        true => Resolver::system(),
        false => Resolver::new(config.resolvers.clone()),
    };
    Router {
        resolver,
        smtp_port: config.smtp_port,
        mx_loopback: config.mx_loopback,
        family: config.outbound_family,
        own_name: config.hostname.clone(),
        own_addresses,
    }
}

/// What is listened on.
fn addresses(bound: &[Bound]) -> Vec<SocketAddr> {
    bound
        .iter()
        .filter_map(|(listener, _)| listener.get_ref().local_addr().ok())
        .collect()
}

struct Relay {
    executor: Arc<Executor<'static>>,
    config: Config,
    certificates: Option<Watch>,
    names: Arc<Names>,
    spool: Spool,
    control: Option<Control>,
    signals: Signals,
}

impl Relay {
    async fn serve(mut self, bound: Vec<Bound>) -> Result<(), String> {
        let router = Arc::new(router(&self.config, addresses(&bound)));
        let schedule = self.start_outbound(&router)?;
        // Nothing is sent on these three: their closing is the news.
        let (stop, stopping) = channel::bounded::<()>(1);
        let (cut_off, cut) = channel::bounded::<()>(1);
        let (alive, ended) = channel::bounded::<()>(1);
        let inbound = Arc::new(self.inbound(&router, schedule.clock(), stopping, cut));
        let hand = schedule.hand();
        let standing = self.certificates.as_ref().map(Watch::standing);
        let control = self.control(&schedule, &inbound, standing.clone());
        let certificates = self.certificates.take().map(|watch| watch.start(&inbound));
        let certificates = certificates.transpose()?;
        let names = Files::of(&self.config, Arc::clone(&self.names.routes)).watch(&self.names)?;
        let listeners = self.listen(&inbound, bound, &alive);
        drop(alive);
        while let Some(signal) = self.signals.next().await {
            match signal {
                Ok(Signal::Hup) => {
                    certificates.iter().for_each(Asker::ask);
                    hand.renew_dns();
                    // Full: it has not begun to do what was asked before.
                    let _ = names.as_ref().map(|names| names.try_send(()));
                    tell(&inbound.counters);
                    standing.iter().for_each(|standing| standing.tell());
                }
                Ok(signal) => {
                    info!("stopping: {signal:?}");
                    break;
                }
                Err(problem) => error!("signals: {problem}"),
            }
        }
        drop((listeners, control));
        stop.close();
        let spool = self.spool.clone();
        let drained = drain(ended, cut_off, schedule);
        let again = async {
            // A second signal does not wait: the queue is on the disk.
            while let Some(Ok(Signal::Hup)) = self.signals.next().await {}
            warn!("stopped at once");
        };
        smol::future::or(drained, again).await;
        tell(&inbound.counters);
        spool
            .close()
            .await
            .map_err(|problem| format!("spool: {problem}"))?;
        info!("stopped queued={}", self.spool.counts().queued);
        Ok(())
    }

    /// The control socket, which answers until it is dropped.
    fn control(
        &mut self,
        schedule: &Schedule,
        inbound: &Inbound,
        standing: Option<Arc<Standing>>,
    ) -> Option<Task<()>> {
        let reach = Reach {
            hand: schedule.hand(),
            counters: Arc::clone(&inbound.counters),
            certificates: standing,
        };
        let control = self.control.take()?;
        let executor = Arc::clone(&self.executor);
        Some(self.executor.spawn(control.serve(reach, executor)))
    }

    fn inbound(
        &self,
        router: &Arc<Router>,
        clock: clocks::Clock,
        stop: Receiver<()>,
        cut: Receiver<()>,
    ) -> Inbound {
        let tls = self.certificates.as_ref().map(Watch::config);
        Inbound {
            hostname: self.config.hostname.clone(),
            names: Arc::clone(&self.names),
            spool: self.spool.clone(),
            verify: self.verify(router),
            has_tls: tls.is_some(),
            tls: RwLock::new(tls),
            message_size: self.config.message_size,
            slots: Slots::new(self.config.sessions, self.config.sessions_per_address),
            handshakes: Turns::new(limits::HANDSHAKES),
            counters: Arc::default(),
            stop,
            cut,
            clock: Box::new(move || clock()),
        }
    }

    fn listen(
        &self,
        inbound: &Arc<Inbound>,
        bound: Vec<Bound>,
        alive: &Sender<()>,
    ) -> Vec<Task<()>> {
        let start = |(listener, port): Bound| {
            let address = listener.get_ref().local_addr().unwrap_or(port.address);
            match port.door {
                Door::Smtp(level) => info!("listening on {address} tls={level}"),
                Door::Tls => info!("listening on {address} tls=implicit"),
            }
            let (inbound, executor) = (Arc::clone(inbound), Arc::clone(&self.executor));
            let accept = listener::listen(inbound, executor, listener, port.door, alive.clone());
            self.executor.spawn(accept)
        };
        bound.into_iter().map(start).collect()
    }

    fn start_outbound(&self, router: &Arc<Router>) -> Result<Schedule, String> {
        let parts = schedule::Parts {
            spool: self.spool.clone(),
            names: Arc::clone(&self.names),
            router: Arc::clone(router),
            connector: connector(&self.config),
            executor: Arc::clone(&self.executor),
            clock: Arc::new(unix_micros),
            steady: clocks::steady(),
        };
        let settings = schedule::Settings {
            hostname: self.config.hostname.clone(),
            outbound: self.config.outbound,
            retry: self.config.retry,
            lifetime: self.config.lifetime,
            senders: self.config.senders.clone(),
        };
        Schedule::start(parts, settings).map_err(|problem| format!("outbound: {problem}"))
    }

    /// Asks about the recipients of our domains that another host keeps.
    fn verify(&self, router: &Arc<Router>) -> Option<Verify> {
        if !self.config.verify_rcpt {
            return None;
        }
        let prober = Prober::new(Arc::clone(router), connector(&self.config), unix_micros);
        let prober = Arc::new(prober);
        let names = Arc::clone(&self.names);
        Some(Box::new(move |address, may| {
            let domain = domain(address);
            let target = names.routes.target(&idn::key(domain)).clone();
            let asked =
                names.relay.is_ours(domain) && matches!(target, Target::Smtp(_) | Target::Lmtp(_));
            let (prober, address) = (Arc::clone(&prober), address.to_owned());
            Box::pin(async move {
                let (verdict, asked) = match asked.then(|| prober.known(&target, &address)) {
                    Some(None) if may == May::Ask => (prober.ask(&target, &address).await, 1),
                    Some(None) => (prober.asks_used_up(&target, &address), 0),
                    known => (known.flatten().unwrap_or(Verdict::NotRefused), 0),
                };
                let existence = match verdict {
                    Verdict::Refused(reply) => Existence::Refused(reply),
                    Verdict::NotRefused => Existence::NotRefused,
                    Verdict::Unasked => Existence::Unasked,
                };
                Answer { existence, asked }
            })
        }))
    }
}

/// What makes connections to next hops.
pub(super) fn connector(config: &Config) -> Connector {
    // Attempts and probes are numbered together.
    static SESSIONS: AtomicU64 = AtomicU64::new(0);
    Connector {
        own_name: config.hostname.clone(),
        level: config.tls_out,
        tls: tls::client::config(),
        next_session: Box::new(|| SESSIONS.fetch_add(1, Ordering::Relaxed) + 1),
        sources: config.outbound_sources,
        resting: attempt::Resting::default(),
        longest_wait: Duration::MAX,
        chunk_refusers: Default::default(),
        crowded: Default::default(),
        counters: attempt::Counters::default(),
    }
}

/// What came in since boot.
fn tell(counters: &Counters) {
    info!("inbound {counters}");
    for line in counters.tls.lines(limits::TLS_ENTRIES_TOLD) {
        info!("inbound {line}");
    }
}

/// Waits for open transactions and for attempts past their final dot, each within its limit.
async fn drain(ended: Receiver<()>, cut_off: Sender<()>, schedule: Schedule) {
    let sessions = async {
        let gone = || async { Ok(ended.recv().await) };
        if within(limits::DRAIN_INBOUND, gone()).await.is_err() {
            warn!("sessions are cut off after {:?}", limits::DRAIN_INBOUND);
            cut_off.close();
            let _ = within(limits::CUT_OFF, gone()).await;
        }
    };
    smol::future::zip(sessions, schedule.stop()).await;
}
